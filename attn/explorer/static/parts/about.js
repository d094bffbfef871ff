import { visible } from "../safe.js";
import { html, useEffect, useState } from "../vendor/preact.js";

const PACE = 700; // milliseconds between looks at what was checked

/**
 * How the picture was made, and what its reader must know.
 * @param {{trace: import("../data/trace.js").Trace, source: import("../data/source.js").Source, branch: any, lost: string}} props  lost: why it is not followed any more
 */
export function About({ trace, source, branch, lost }) {
  const { request, backend, model, status } = trace.manifest;
  const checks = useChecks(source, trace);
  const loras = request.loras
    .map((/** @type {any} */ one) => `${one.path.split("/").at(-1)} at ${one.scale}`)
    .join(", ");
  const facts = [
    backend,
    model.source,
    `seed ${request.seed}`,
    `${trace.steps.length} steps`,
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
    <details><summary>${identityOf(trace)}${checks?.files && checks.checked === checks.files && !checks.damaged.length ? ` · ${checks.checked} of ${checks.files} files checked` : checks?.files ? ` · checking files: ${checks.checked} of ${checks.files}` : ""}</summary>
      ${trace.facts.rounded && html`<p>${trace.facts.rounded}</p>`}<dl>${options.map(([name, value]) => html`<dt><bdi>${visible(name)}</bdi></dt><dd><bdi>${visible(typeof value === "string" ? value : JSON.stringify(value))}</bdi></dd>`)}
      ${request.negative && html`<dt>negative</dt><dd><bdi>${visible(request.negative)}</bdi></dd>`}
      ${Object.entries(trace.manifest.environment).map(([name, value]) => html`<dt><bdi>${visible(name)}</bdi></dt><dd><bdi>${visible(value)}</bdi></dd>`)}</dl></details>
    ${status === "partial" && html`<span class="unseen">partial</span>`}</div>`;
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
    ...(lost ? [`This is what was there last: ${lost}`] : []),
    ...(checks?.error ? [`Its files are not checked: ${checks.error}`] : []),
    ...(checks?.damaged ?? []).map((/** @type {string} */ reason) => `Damaged: ${reason}`),
    ...unread,
    ...(trace.leftOut.length ? [`This page has less than the trace. ${trace.leftOut.join(" ")}`] : []),
    ...(kept.level === "means" ? ["Maps were kept as the mean over all steps: they cannot be seen step by step."] : []),
    ...(kept.level === "mass"
      ? [
          trace.facts.screen === "text"
            ? "No maps were kept (--keep mass): there are no matrices, only what layers and heads read."
            : "No maps were kept (--keep mass): words are ranked for the whole picture, and have no places.",
        ]
      : []),
    ...warnings,
  ];
}

/** @param {import("../data/trace.js").Trace} trace */
function identityOf(trace) {
  const kernels = trace.manifest.identity.kernels ?? [];
  const isSame = kernels.length > 0 && kernels.every((/** @type {any} */ one) => one.output === "identical");
  const what = trace.facts.screen === "text" ? "text" : "picture";
  return isSame ? `Same ${what} as without capture: checked, bit for bit` : "How it was made";
}

/** @param {import("../data/source.js").Source} source @param {import("../data/trace.js").Trace} trace */
function useChecks(source, trace) {
  const [checks, setChecks] = useState(/** @type {any} */ (null));
  useEffect(() => {
    if (!source.base) return;
    let timer = 0;
    const look = async () => {
      const found = await source.json("checked").catch((/** @type {Error} */ error) => ({ error: error.message }));
      setChecks(found);
      if (found.checked < found.files) timer = setTimeout(look, PACE);
    };
    void look();
    return () => clearTimeout(timer);
  }, [source, trace]);
  return checks;
}
