import { largestSize } from "../data/tables.js";
import { percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { html } from "../vendor/preact.js";

const WIDE = 240;
const HIGH = 26;
const HEADS = ["word", "baseline", "variant", "change, points", "relative"];
/** Parts of the largest change that the scale names, and where their numbers are set. @type {[number, string][]} */
const TICKS = [
  [-1, "start"],
  [0, "middle"],
  [1, "end"],
]; // prettier-ignore

/** Whether an interval tells from chance: "up", "down", "unsure" where it holds 0, "none" without one. @param {{low: number, high: number}} interval */
export function direction({ low, high }) {
  if (Number.isNaN(low) || Number.isNaN(high)) return "none";
  return low > 0 ? "up" : high < 0 ? "down" : "unsure";
}

/** A change of an amount, in points of a hundred. @param {number} value */
export function points(value) {
  if (Number.isNaN(value)) return "–";
  const shown = 100 * value;
  const digits = Math.abs(shown) >= 9.995 ? 1 : Math.abs(shown) >= 0.0995 ? 2 : 3;
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(shown).toFixed(digits)}`;
}

/**
 * Every word's change with its interval, on one scale that is symmetric about 0.
 * @param {{words: import("./comparison.js").WordChange[], current: import("./comparison.js").WordChange, measure: string, name: string, about: string, onChoose: (id: string) => void}} props
 */
export function WordChanges({ words, current, measure, name, about, onChoose }) {
  const most = largestSize(words.flatMap(({ low, high, change }) => [low, high, change]));
  const x = (/** @type {number} */ value) => (WIDE / 2) * (1 + (0.94 * value) / most);
  const hasIntervals = words.some((word) => direction(word) !== "none");
  const table = () => ({
    head: ["word", "base", "variant", "change", "relative_change", "low", "high", "n"],
    rows: words.map((word) =>
      [word.name, word.base, word.variant, word.change, word.relative, word.low, word.high, word.n].map((cell) =>
        Number.isNaN(cell) ? "" : cell,
      ),
    ),
  });
  return html`<section aria-label="Words"><h2>Which words get more or less</h2>
    <p class="faint">${hasIntervals ? `The bar is the 95 % interval of the change, the dot the change; grey where the interval holds 0. From ${points(-most)} to ${points(most)} points.` : "There are too few pairs for intervals: the dot is the change, and may be chance."}</p>
    <p class="say" aria-live="polite"><bdi>“${current.name}”</bdi>: ${percent(current.base)} → ${percent(current.variant)}, ${intervalText(current)}</p>
    <div id="word-changes"><table class="changes"><thead><tr>${HEADS.map((head) => html`<th scope="col"><span class="figure-text">${head}</span></th>`)}<th scope="col"><span class="figure-text">${hasIntervals ? "95 % interval" : "change"}, points</span><svg class="axes" width=${WIDE} height="16" aria-hidden="true">${TICKS.map(([part, anchor]) => html`<text x=${x(part * most)} y="12" font-size="11" text-anchor=${anchor}>${part ? points(part * most) : "0"}</text>`)}</svg></th></tr></thead>
    <tbody>${words.map(
      (
        word,
      ) => html`<tr key=${word.id} class=${`${direction(word)} ${word.id === current.id ? "is-current" : ""}`}><td><button class="word figure-text" style="--part:0" aria-pressed=${String(word.id === current.id)} onClick=${() => onChoose(word.id)}><bdi>${word.name}</bdi></button></td>
        <td><span class="figure-text">${percent(word.base)}</span></td><td><span class="figure-text">${percent(word.variant)}</span></td><td><span class="figure-text">${points(word.change)}</span></td><td><span class="figure-text">${relativeText(word.relative)}</span></td>
        <td><svg width=${WIDE} height=${HIGH} role="img" aria-label=${intervalText(word)}><line class="zero" x1=${WIDE / 2} x2=${WIDE / 2} y1="0" y2=${HIGH} />
          ${direction(word) !== "none" && html`<line class="interval" x1=${x(word.low)} x2=${x(word.high)} y1=${HIGH / 2} y2=${HIGH / 2} />`}<circle class="dot" cx=${x(word.change)} cy=${HIGH / 2} r="4" /></svg></td></tr>`,
    )}</tbody></table></div>
    <${Save} figure="word-changes" name=${`${name}-words`} title=${[`Change of ${measure} by word`, about]} caption=${hasIntervals ? "Bars are 95 % intervals of the change, dots the change; grey where the interval holds 0." : "There are too few pairs for intervals: changes may be chance."} tables=${{ CSV: table }} /></section>`;
}

/** @param {number} relative */
function relativeText(relative) {
  if (!Number.isFinite(relative)) return "–";
  return relative >= 1
    ? `${(1 + relative).toFixed(2)} ×`
    : `${relative > 0 ? "+" : relative < 0 ? "−" : ""}${Math.abs(100 * relative).toFixed(1)} %`;
}

/** @param {import("./comparison.js").WordChange} word */
function intervalText(word) {
  if (direction(word) === "none") return `${points(word.change)} points, no interval`;
  return `${points(word.change)} points (${points(word.low)} to ${points(word.high)}${direction(word) === "unsure" ? ", holds 0" : ""})`;
}
