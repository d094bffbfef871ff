import { openSource } from "../data/source.js";
import { decimals, numberOf } from "../data/tables.js";
import { TraceImage } from "../parts/trace-image.js";
import { visible } from "../safe.js";
import { html, useState } from "../vendor/preact.js";
import { points } from "./word-changes.js";

const FIRST = 24;

/**
 * The pairs of images, by prompt and seed; each opens side by side.
 * @param {object} props
 * @param {any[]} props.pairs   of the facts: `prompt`, `seed`, `ids` by run
 * @param {string} props.base
 * @param {string} props.variant
 * @param {import("../data/tables.js").Row[]} props.images   of `images.csv`
 * @param {import("../data/tables.js").Row[]} props.levels   of `image_pairs.csv`
 * @param {import("../data/tables.js").Row[]} props.changes  of `mass_pairs.csv`, of the word
 * @param {string} props.word
 */
export function Pairs({ pairs, base, variant, images, levels, changes, word }) {
  const [most, setMost] = useState(FIRST);
  const shown = pairs.filter((pair) => base in pair.ids && variant in pair.ids);
  const alike = (/** @type {any} */ pair) => (/** @type {import("../data/tables.js").Row} */ row) =>
    row.prompt === pair.prompt && Number(row.seed) === pair.seed;
  const told = images
    .map(
      (row) =>
        `${row.measure === "level" ? "level" : "SSIM"} ${decimals(row.value, 3)}${row.low ? ` (${decimals(row.low, 3)} to ${decimals(row.high, 3)})` : ""}`,
    )
    .join(", ");
  const thumb = (/** @type {string} */ id) => openSource(`t/${id}/`).url("thumb");
  return html`<section class="pairs" aria-label="Pairs"><h2>Pairs of images</h2>
    <p class="faint">${told && `How much images differ, mean over pairs: ${told}. Level is the mean absolute difference, 0 to 255.`} ${shown.length ? "A pair opens side by side, with one cursor." : "The traces of this comparison were not opened: open the folder that they lie in to see them here."}</p>
    <ul class="pair-list">${shown.slice(0, most).map((pair) => {
      const level = levels.find(alike(pair));
      const change = changes.filter(alike(pair));
      const mean = change.reduce((sum, row) => sum + numberOf(row.change), 0) / change.length;
      return html`<li key=${`${pair.prompt}/${pair.seed}`}><a class="pair" href=${`#t=${pair.ids[base]},${pair.ids[variant]}`}><span class="pair-images"><${TraceImage} source=${thumb(pair.ids[base])} alt=${visible(base)} loading="lazy" /><${TraceImage} source=${thumb(pair.ids[variant])} alt=${visible(variant)} loading="lazy" /></span>
        <span>seed ${pair.seed}${level && html` <span class="faint">level ${decimals(level.level, 1)}</span>`}</span>${change.length > 0 && html`<span class="faint">“${word}” ${points(mean)} points</span>`}</a></li>`;
    })}</ul>${shown.length > most && html`<button onClick=${() => setMost(shown.length)}>all ${shown.length} pairs</button>`}</section>`;
}
