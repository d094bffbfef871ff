import { percent } from "../draw/colours.js";
import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";
import { Word } from "./prompt.js";

/** @typedef {import("../data/trace.js").Group} Group */

/**
 * Each of several segments as one group of keys, so that it has a map like a word: where the picture reads the drawing, say.
 * @param {Group[]} groups
 * @param {string[]} segments
 * @returns {Group[]}
 */
export function wholeSegments(groups, segments) {
  const kept = segments.filter((segment) => groups.some((group) => group.segment === segment && group.columns.length));
  if (kept.length < 2) return [];
  return kept.map((segment) => {
    const inside = groups.filter((group) => group.segment === segment);
    const all = (/** @type {(group: Group) => number[]} */ part) => [...new Set(inside.flatMap(part))];
    return {
      ...inside[0],
      id: `${segment}.all`,
      kind: "segment",
      text: `all of ${segment}`,
      columns: all((group) => group.columns),
      keys: all((group) => group.keys),
    };
  });
}

/**
 * How a place divides what it gives to text over the segments: two encoders, or text and a drawing. Each can be hovered and pinned.
 * @param {{wholes: Group[], amounts: ArrayLike<number> | null, current: string, pins: string[], onPin: (id: string) => void, onHover: (id: string | null) => void}} props
 */
export function Balance({ wholes, amounts, current, pins, onPin, onHover }) {
  if (!wholes.length || !amounts) return null;
  const sums = wholes.map((group) => group.columns.reduce((all, column) => all + amounts[column], 0));
  const total = sums.reduce((sum, value) => sum + value, 0) || 1;
  return html`<div class="balance"><span class="faint">of what it gives to all of these:</span>
    ${wholes.map((group, at) => html`<span key=${group.id} class="balance-part"><span class=${`balance-key part-${at % 4}`}></span><${Word} text=${visible(group.segment)} reading=${{ group, attention: sums[at] }} part=${0} isCurrent=${current === group.id} isPinned=${pins.includes(group.id)} onPin=${onPin} onHover=${onHover} /> ${percent(sums[at] / total)}</span>`)}
    <span class="balance-bar" aria-hidden="true">${wholes.map((group, at) => html`<span key=${group.id} class=${`part-${at % 4}`} style=${`width:${(100 * sums[at]) / total}%`}></span>`)}</span></div>`;
}
