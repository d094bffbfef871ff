import { numberOf } from "../data/tables.js";
import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";

/** @type {Record<string, string>} */
const MEASURES = {
  level: "whole image",
  inside: "inside of the word's map",
  outside: "outside of it",
  aimed: "inside minus outside",
};

/** @param {number} value */
const signed = (value) => value.toFixed(2).replace("-", "\u2212");

/**
 * How much a cut changes the picture, held against cutting as much at random.
 * @param {{rows: import("../data/tables.js").Row[]}} props  of `cuts.csv`, of one cut
 */
export function CutEffects({ rows }) {
  if (!rows.length) return null;
  const cell = (/** @type {import("../data/tables.js").Row} */ row, /** @type {string} */ start) => {
    const [value, low, high] = ["change", "low", "high"].map((end) => numberOf(row[start + end]));
    if (Number.isNaN(value)) return html`<td>–</td>`;
    const range = Number.isNaN(low)
      ? ""
      : `${signed(low)} to ${signed(high)}${low <= 0 && 0 <= high ? ", holds 0" : ""}`;
    return html`<td>${signed(value)} <span class="faint">${range}</span></td>`;
  };
  return html`<section aria-label="What the cut does"><h2>What the cut does to the image</h2>
    <p class="faint">Mean absolute difference from the baseline's image, 0 to 255, with 95 % intervals; ${rows[0].n} pairs of images.</p>
    <table class="differences"><thead><tr><th scope="col">where</th><th scope="col">this cut</th><th scope="col">as much at random</th><th scope="col">difference</th></tr></thead>
      <tbody>${rows.map((row) => html`<tr><th scope="row">${MEASURES[row.measure] ?? visible(row.measure)}</th>${cell(row, "")}${cell(row, "random_")}${cell(row, "difference_")}</tr>`)}</tbody></table></section>`;
}
