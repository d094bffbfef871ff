import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";
import { labelOf } from "./readings.js";
import { BRANCH_NAMES, MADE } from "./titles.js";

/** Branch, sample and network, where there are several. @param {any} props */
export function Switches({ trace, state, selection }) {
  const { branches, samples } = trace.manifest;
  const choice = (
    /** @type {string} */ label,
    /** @type {string} */ name,
    /** @type {string[]} */ values,
    /** @type {string} */ chosen,
    /** @type {(one: string) => string} */ said,
  ) =>
    values.length > 1 &&
    html`<fieldset class="switch"><legend>${label}</legend>${values.map((value) => html`<button aria-pressed=${String(value === chosen)} onClick=${() => state.set({ [name]: value, layers: "", heads: "" })}>${said(value)}</button>`)}</fieldset>`;
  return html`<div class="switches">${choice("reads", "branch", branches, selection.branch, (one) => BRANCH_NAMES[one] ?? visible(one))}
    ${choice(
      MADE[trace.facts.screen],
      "sample",
      Array.from({ length: samples }, (_, at) => String(at)),
      String(selection.sample),
      (one) => String(Number(one) + 1),
    )}
    ${choice(
      "network",
      "tower",
      trace.nets.map((/** @type {any} */ net) => net.name),
      selection.net.name,
      visible,
    )}</div>`;
}

/** @param {any} props */
export function Looks({ state, alpha, threshold, smooth, hasSketch, children }) {
  const slide = (/** @type {string} */ label, /** @type {string} */ name, /** @type {number} */ value) =>
    html`<label>${label} <input type="range" min="0" max="1" step="0.05" value=${value} onInput=${(/** @type {any} */ event) => state.set({ [name]: event.target.value })} /></label>`;
  return html`<div class="looks">${slide("map over image", "alpha", alpha)}${slide("hide below", "threshold", threshold)}
    <label><input type="checkbox" checked=${!smooth} onChange=${(/** @type {any} */ event) => state.set({ cells: event.target.checked ? "yes" : "" })} /> show cells</label>
    ${hasSketch && html`<label><input type="checkbox" checked=${state.get("sketch") === "yes"} onChange=${(/** @type {any} */ event) => state.set({ sketch: event.target.checked ? "yes" : "" })} /> drawing</label>`}
    ${children}</div>`;
}

/** What is pinned, and how to free it. @param {any} props */
export function Chips({ pins, place, name, onPin, onFree, mode, onMode }) {
  if (!pins.length && !place) return null;
  return html`<div class="chips"><span class="faint">pinned</span>${place && html`<button class="chip" onClick=${onFree}>${place} <span aria-hidden="true">×</span><span class="unseen">free</span></button>`}
    ${pins.map((/** @type {string} */ id) => html`<button key=${id} class="chip" onClick=${() => onPin(id)}><bdi>${name(id)}</bdi> <span aria-hidden="true">×</span><span class="unseen">unpin</span></button>`)}
    ${pins.length > 1 && html`<button aria-pressed=${String(mode === "strongest")} onClick=${() => onMode(mode === "strongest" ? "" : "strongest")}>colour by strongest</button>`}</div>`;
}

/** @param {any[]} groups @param {string} id @param {string[]} segments */
export function nameOf(groups, id, segments) {
  return labelOf(
    groups.find((one) => one.id === id),
    segments,
  );
}

/** @param {import("../data/trace.js").Trace} trace @param {import("../state.js").State} state @param {import("../data/trace.js").Selection} selection @param {() => void} free @returns {import("../keys.js").Shortcut[]} */
export function shortcutsOf(trace, state, selection, free) {
  const turn =
    (
      /** @type {string} */ name,
      /** @type {number[]} */ all,
      /** @type {number[] | null} */ chosen,
      /** @type {number} */ by,
    ) =>
    () => {
      const at = chosen ? all.indexOf(chosen[0]) : by > 0 ? -1 : all.length;
      if (all[at + by] !== undefined) state.set({ [name]: String(all[at + by]) });
    };
  const steps = trace.singleSteps.map((step) => step.index);
  const layers = selection.net.layers.map((layer) => layer.index);
  return [
    { keys: "[", does: "the step before", run: turn("steps", steps, selection.steps, -1) },
    { keys: "]", does: "the next step", run: turn("steps", steps, selection.steps, 1) },
    { keys: "m", does: "the mean of all steps and layers", run: () => state.set({ steps: "", layers: "", heads: "" }) },
    { keys: ",", does: "the layer before", run: turn("layers", layers, selection.layers, -1) },
    { keys: ".", does: "the next layer", run: turn("layers", layers, selection.layers, 1) },
    { keys: "/", does: "find a word", run: () => document.getElementById("find-word")?.focus() },
    { keys: "Escape", does: "free what is pinned", run: free },
    { keys: "?", does: "this list" },
  ];
}
