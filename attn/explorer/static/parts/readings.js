import { percent } from "../draw/colours.js";
import { visible } from "../safe.js";

/**
 * What groups of keys get, at a place or in the whole picture.
 *
 * @typedef {object} Reading
 * @property {import("../data/trace.js").Group} group
 * @property {number} attention  sum over the group's tokens, mean over the cells of the place
 * @property {number} share      of what the place gives to all text
 * @property {number} lift       against the mean of the picture
 *
 * @typedef {"attention" | "share" | "lift"} Order
 */

/** @type {Record<Order, {title: string, format: (value: number) => string}>} */
export const ORDERS = {
  attention: { title: "how much of the attention of this place the word gets", format: percent },
  share: { title: "its part of what this place gives to all text", format: percent },
  lift: {
    title: "this place against the mean of the whole image",
    format: (value) => (Number.isFinite(value) ? `${value.toFixed(2)} ×` : "–"),
  },
};

/**
 * @param {import("../data/trace.js").Group[]} groups
 * @param {ArrayLike<number>} amounts per column at the place
 * @param {ArrayLike<number>} whole   per column in the whole picture
 * @returns {Reading[]}
 */
export function readingsOf(groups, amounts, whole) {
  let text = 0;
  for (let at = 0; at < amounts.length; at++) text += amounts[at] || 0; // of what was read
  return groups
    .filter((group) => group.columns.length)
    .map((group) => {
      const attention = group.columns.reduce((sum, at) => sum + amounts[at], 0);
      const mean = group.columns.reduce((sum, at) => sum + whole[at], 0);
      return { group, attention, share: attention / text, lift: attention / mean };
    });
}

/** @param {Reading[]} readings @param {Order} order */
export function ranked(readings, order) {
  const words = readings.filter(({ group }) => group.kind === "word" || group.kind === "token");
  return words.sort((a, b) => (b[order] || 0) - (a[order] || 0));
}

/**
 * The name of a group, with its segment where there are several.
 * @param {import("../data/trace.js").Group} group
 * @param {string[]} segments
 */
export function labelOf(group, segments) {
  return segments.length > 1 && group.kind !== "segment"
    ? `${visible(group.text)} (${group.segment})`
    : visible(group.text);
}
