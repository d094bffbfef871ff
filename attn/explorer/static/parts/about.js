import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";
import { useChecks, useMark } from "./checks.js";
import { lorasOf } from "./titles.js";

/**
 * How the picture was made, and what its reader must know.
 * @param {{trace: import("../data/trace.js").Trace, source: import("../data/source.js").Source, branch: any, lost: string, error?: string}} props  lost: why it is not followed any more; error: why something cannot be read
 */
export function About({ trace, source, branch, lost, error }) {
  const { request, backend, model, status } = trace.manifest;
  const checks = useChecks(source, status, trace);
  useMark(checks?.lost || lost, error);
  const loras = lorasOf(request);
  const facts = [
    backend,
    model.source,
    `seed ${request.seed}`,
    `${trace.count} steps`,
    request.guidance !== null && `guidance ${request.guidance}`,
    request.width && `${request.width} × ${request.height}`,
    request.scheduler,
    loras && `LoRA ${loras}`,
    ...(trace.facts.cuts ?? []).map((/** @type {string} */ cut) => `cut: ${cut}`),
    `${trace.manifest.kept.layers.length} layers, kept ${trace.manifest.kept.level}`,
  ].filter(Boolean);
  const options = Object.entries(request.options).filter(([, value]) => value !== null && value !== "");
  return html`<div class="about"><p class="facts">${facts.map((fact) => html`<span><bdi>${visible(fact)}</bdi></span>`)}</p>
    <${Notices} notices=${noticesOf(trace, branch, checks, lost)} />
    <details><summary>${identityOf(trace)}${error ? "" : checkedText(checks)}</summary>
      ${trace.facts.rounded && html`<p>${trace.facts.rounded}</p>`}<dl>${options.map(([name, value]) => html`<dt><bdi>${visible(name)}</bdi></dt><dd><bdi>${visible(typeof value === "string" ? value : JSON.stringify(value))}</bdi></dd>`)}
      ${request.negative && html`<dt>negative</dt><dd><bdi>${visible(request.negative)}</bdi></dd>`}
      ${Object.entries(trace.manifest.environment).map(([name, value]) => html`<dt><bdi>${visible(name)}</bdi></dt><dd><bdi>${visible(value)}</bdi></dd>`)}</dl></details>
    ${status === "partial" && html`<span class="unseen">partial</span>`}</div>`;
}

/** @param {import("./checks.js").Checks | null} checks */
function checkedText(checks) {
  if (!checks?.files || checks.lost) return "";
  const count = `${checks.checked} of ${checks.files}`;
  return checks.checked < checks.files ? ` · checking files: ${count}` : ` · ${count} files checked`;
}

/** @param {{notices: string[]}} props */
export function Notices({ notices }) {
  return notices.length
    ? html`<ul class="notices">${notices.map((notice) => html`<li><bdi>${visible(notice)}</bdi></li>`)}</ul>`
    : null;
}

/** @param {import("../data/trace.js").Trace} trace @param {any} branch @param {any} checks @param {string} lost @returns {string[]} */
function noticesOf(trace, branch, checks, lost) {
  const { status, request, warnings, kept } = trace.manifest;
  const unread = Object.entries(branch.truncated).map(
    ([segment, text]) => `${segment} does not read the end of the text: “${text}”`,
  );
  const partial = `Not finished: ${trace.steps.length} of ${request.steps ?? "?"} steps are here.`;
  return [
    ...(status === "partial" ? [partial] : []),
    ...(checks?.lost || lost ? [`This is what was there last: ${checks?.lost || lost}`] : []),
    ...(checks?.damaged ?? []).map((/** @type {string} */ reason) => `Damaged: ${reason}`),
    ...unread,
    ...(trace.leftOut.length ? [`This page has less than the trace. ${trace.leftOut.join(" ")}`] : []),
    ...(kept.level === "means" ? ["Maps were kept as the mean over all steps: they cannot be seen step by step."] : []),
    ...(kept.level === "mass"
      ? [
          trace.facts.screen === "text"
            ? "No maps were kept (--keep mass): there are no matrices, only what layers and heads read."
            : "No maps were kept (--keep mass): words are ranked for the whole image, and have no places.",
        ]
      : []),
    ...warnings,
  ];
}

/** @param {import("../data/trace.js").Trace} trace */
function identityOf(trace) {
  const kernels = trace.manifest.identity.kernels ?? [];
  const isSame = kernels.length > 0 && kernels.every((/** @type {any} */ one) => one.output === "identical");
  const what = trace.facts.screen === "text" ? "text" : "image";
  return isSame ? `Same ${what} as without capture: checked, bit for bit` : "How it was made";
}
