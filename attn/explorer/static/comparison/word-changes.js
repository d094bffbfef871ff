import { largestSize } from "../data/tables.js";
import { percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { html } from "../vendor/preact.js";

const WIDE = 240;
const HIGH = 26;

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
 * @param {{words: import("./comparison.js").WordChange[], current: import("./comparison.js").WordChange, measure: string, name: string, onChoose: (id: string) => void}} props
 */
export function WordChanges({ words, current, measure, name, onChoose }) {
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
    <div id="word-changes"><table class="changes"><thead><tr><th scope="col">word</th><th scope="col">baseline</th><th scope="col">variant</th><th scope="col">change, points</th><th scope="col">relative</th><th scope="col">interval</th></tr></thead>
    <tbody>${words.map(
      (
        word,
      ) => html`<tr key=${word.id} class=${`${direction(word)} ${word.id === current.id ? "is-current" : ""}`}><td><button class="word figure-text" style="--part:0" aria-pressed=${String(word.id === current.id)} onClick=${() => onChoose(word.id)}><bdi>${word.name}</bdi></button></td>
        <td><span class="figure-text">${percent(word.base)}</span></td><td><span class="figure-text">${percent(word.variant)}</span></td><td><span class="figure-text">${points(word.change)}</span></td><td><span class="figure-text">${relativeText(word.relative)}</span></td>
        <td><svg width=${WIDE} height=${HIGH} role="img" aria-label=${intervalText(word)}><line class="zero" x1=${WIDE / 2} x2=${WIDE / 2} y1="0" y2=${HIGH} />
          ${direction(word) !== "none" && html`<line class="interval" x1=${x(word.low)} x2=${x(word.high)} y1=${HIGH / 2} y2=${HIGH / 2} />`}<circle class="dot" cx=${x(word.change)} cy=${HIGH / 2} r="4" /></svg></td></tr>`,
    )}</tbody></table></div>
    <${Save} figure="word-changes" name=${`${name}-words`} caption=${`Change of ${measure} by word, variant minus baseline, with 95 % intervals; ${words[0].n} pairs`} tables=${{ CSV: table }} /></section>`;
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
