import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";

/**
 * What was done to the attention of each, where something was.
 * @param {{sides: {label: string, trace: import("../data/trace.js").Trace}[]}} props
 */
export function CutsOfSides({ sides }) {
  const cut = sides.filter(({ trace }) => trace.facts.cuts.length);
  return cut.map(
    ({ label, trace }) =>
      html`<p class="faint"><bdi>${visible(label)}</bdi> was made with cuts in its attention: <bdi>${visible(trace.facts.cuts.join("; "))}</bdi></p>`,
  );
}
