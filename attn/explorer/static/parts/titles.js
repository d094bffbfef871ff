import { visible } from "../safe.js";

/** What a figure is of, in words. */

const LONGEST = 240; // letters of a prompt

/** What guidance rows are called. @type {Record<string, string>} */
export const BRANCH_NAMES = { cond: "prompt", uncond: "negative prompt", skip: "skipped layers" };

/** What is made, by the screen that shows it. @type {Record<string, string>} */
export const MADE = { picture: "image", text: "text" };

/** Adapters of a request with their scales. @param {{loras: any[]}} request @returns {string} */
export const lorasOf = ({ loras }) =>
  loras.map(({ path, scale }) => `${path.split("/").at(-1)} at ${scale}`).join(", ");

/** How a trace was made: prompt, seed, model, and what was done to it. @param {import("../data/trace.js").Trace} trace */
export function requestOf(trace) {
  const { request, backend } = trace.manifest;
  const letters = [...request.prompt];
  const prompt = letters.length > LONGEST ? `${letters.slice(0, LONGEST).join("")}…` : request.prompt;
  const loras = lorasOf(request);
  const cuts = (trace.facts.cuts ?? []).map((/** @type {string} */ cut) => `cut: ${cut}`);
  return [`“${prompt}”`, `seed ${request.seed}`, backend, loras && `LoRA ${loras}`, ...cuts]
    .filter(Boolean)
    .map(visible)
    .join(" · ");
}

/** Which layers, heads and steps are shown, in words; of no steps, nothing is said of them. @param {any} selection */
export function meantOf({ layers, heads, steps, net, frame }) {
  const which = layers
    ? `layer ${layers.join(", ")}`
    : net.layers.length > 1
      ? `mean of ${net.layers.length} layers`
      : "the only layer";
  const when = steps === undefined ? "" : steps ? `step ${steps.join(", ")}` : "all steps";
  const where = frame === null || frame === undefined ? "" : `frame ${frame}`;
  return [which, heads ? `head ${heads.join(", ")}` : "all heads", when, where].filter(Boolean).join(", ");
}

/** The same, with guidance row, image and network where there are several. @param {import("../data/trace.js").Trace} trace @param {any} selection */
export function selectionOf(trace, selection) {
  const { branches, samples } = trace.manifest;
  return [
    branches.length > 1 && `reads the ${BRANCH_NAMES[selection.branch] ?? selection.branch}`,
    samples > 1 && `${MADE[trace.facts.screen]} ${selection.sample + 1} of ${samples}`,
    trace.nets.length > 1 && selection.net.name,
    meantOf(selection),
  ]
    .filter(Boolean)
    .map(visible)
    .join(", ");
}

/**
 * What stands side by side, a line for each.
 * @template {{label: string, trace: import("../data/trace.js").Trace}} S
 * @param {S[]} sides
 * @param {(side: S) => any} selected  what is shown of one
 */
export function aboutSides(sides, selected) {
  return sides.map((side) => {
    const selection = selected(side);
    return `${visible(side.label)}: ${requestOf(side.trace)}${selection ? ` · ${selectionOf(side.trace, selection)}` : ""}`;
  });
}
