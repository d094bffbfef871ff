import { percent } from "./colours.js";
import { visible } from "./safe.js";
import { html } from "./vendor/preact.js";

/**
 * How a place divides what it gives to text over the segments: two encoders, or text and a drawing.
 * @param {{groups: import("./trace.js").Group[], segments: string[], amounts: ArrayLike<number> | null}} props
 */
export function Balance({ groups, segments, amounts }) {
  if (segments.length < 2 || !amounts) return null;
  const sums = segments.map((segment) =>
    groups
      .filter((group) => group.segment === segment)
      .reduce((sum, group) => sum + group.columns.reduce((all, column) => all + amounts[column], 0), 0),
  );
  const total = sums.reduce((sum, value) => sum + value, 0) || 1;
  const said = segments.map((segment, at) => `${visible(segment)} ${percent(sums[at] / total)}`).join(", ");
  return html`<div class="balance"><span class="faint">of what it gives to all of these: ${said}</span>
    <span class="balance-bar" aria-hidden="true">${segments.map((segment, at) => html`<span key=${segment} class=${`part-${at % 4}`} style=${`width:${(100 * sums[at]) / total}%`}></span>`)}</span></div>`;
}
