import { decimals, largestSize, numberOf } from "../data/tables.js";
import { percent } from "../draw/colours.js";
import { largest, paintDifference, paintMap } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { useFrame } from "../frame.js";
import { MapPanel, Ramp } from "../parts/map-panel.js";
import { visible } from "../safe.js";
import { html, useMemo } from "../vendor/preact.js";
import { direction, points } from "./word-changes.js";

/**
 * Where the attention to a word changed: baseline, variant and change, with one cursor.
 * @param {object} props
 * @param {import("../data/tables.js").Row[]} props.rows      of `difference.csv`, one for each place
 * @param {import("../data/tables.js").Row[]} props.measures  of `maps.csv`
 * @param {string} props.word
 * @param {string} props.base
 * @param {string} props.variant
 * @param {import("../state.js").State} props.state
 * @param {boolean} props.isRead
 * @param {string} props.name   of files
 * @param {string} props.about  what was compared
 */
export function DifferenceMap({ rows, measures, word, base, variant, state, isRead, name, about }) {
  const [hovered, hover, last] = useFrame(/** @type {number | null} */ (null));
  const map = useMemo(() => mapOf(rows), [rows.length, rows[0]]);
  if (!map)
    return isRead
      ? html`<section><h2>Where it changed</h2><p class="faint">No maps were compared: capture with --keep means or maps.</p></section>`
      : null;
  const { grid } = map;
  const pinned = state.read("place", (text) => readPlace(text, grid));
  const at = pinned ?? hovered;
  const pin = (/** @type {number | null} */ place) =>
    state.set({ place: place === null ? "" : placeText(place, grid) });
  const top = Math.max(largest(map.base), largest(map.variant));
  const most = largestSize(map.change);
  const panels = [
    {
      id: "base",
      title: visible(base),
      paint: (/** @type {HTMLCanvasElement} */ canvas) => paintMap(canvas, map.base, grid, { top, floor: 1 }),
    },
    {
      id: "variant",
      title: visible(variant),
      paint: (/** @type {HTMLCanvasElement} */ canvas) => paintMap(canvas, map.variant, grid, { top, floor: 1 }),
    },
    {
      id: "change",
      title: "change",
      paint: (/** @type {HTMLCanvasElement} */ canvas) => paintChange(canvas, map, most),
    },
  ];
  const say = at === null ? "Point at a place, or use the arrow keys." : sayPlace(map, at);
  const masked = map.hasIntervals
    ? map.masked
      ? `Grey, ${map.masked} of ${map.base.length} places: the 95 % interval holds 0.`
      : ""
    : "There are too few pairs for intervals: changes may be chance.";
  const table = () => ({
    head: ["row", "column", "base", "variant", "change", "low", "high"],
    rows: Array.from(map.base, (_, place) => [
      Math.floor(place / grid[1]),
      place % grid[1],
      map.base[place],
      map.variant[place],
      map.change[place],
      ...[map.low[place], map.high[place]].map((one) => (Number.isNaN(one) ? "" : one)),
    ]),
  });
  return html`<section aria-label="Where it changed"><h2>Where the attention to <bdi>“${word}”</bdi> changed</h2>
    <div id="difference" class="panels">${panels.map(({ id, title, paint }) => html`<${MapPanel} key=${id} title=${title} label=${`Map: ${title}. Arrow keys move, Enter pins a place.`} paint=${paint} painted=${[map]} grid=${grid} at=${at} last=${() => pinned ?? last()} isPinned=${pinned !== null} onHover=${hover} onPin=${pin} />`)}
      <div class="scale ticks"><${Ramp} kind="amount" /><span class="figure-text">0</span><span></span><span class="figure-text">${percent(top)}</span></div>
      <div class="scale ticks"><${Ramp} kind="change" /><span class="figure-text">${points(-most)}</span><span class="figure-text">0</span><span class="figure-text">${points(most)}</span></div></div>
    <p id="place" class="say" aria-live="polite">${say}</p>
    ${pinned !== null && html`<div class="chips"><span class="faint">pinned</span><button class="chip" onClick=${() => pin(null)}>row ${Math.floor(pinned / grid[1])}, column ${pinned % grid[1]} <span aria-hidden="true">×</span><span class="unseen">free</span></button></div>`}
    <p class="faint">Mean over all pairs. ${masked}</p>
    ${measures.length > 0 && html`<dl class="measures">${measures.map((row) => html`<dt>${MEASURES_OF_MAPS[row.measure] ?? visible(row.measure)}</dt><dd>${decimals(row.value, 3)}${row.low && html` <span class="faint">${decimals(row.low, 3)} to ${decimals(row.high, 3)}</span>`}</dd>`)}</dl>`}
    <${Save} figure="difference" name=${`${name}-difference`} title=${[`Where the attention to “${word}” changed`, about]} caption=${`${at === null ? "" : `${say}. `}Change is in points. ${masked}`} tables=${{ CSV: table }} /></section>`;
}

/** @type {Record<string, string>} */
const MEASURES_OF_MAPS = {
  correlation: "correlation of the two maps, −1 to 1",
  divergence: "divergence, 0 (equal) to 1 bit",
  iou: "overlap of the top fifths, 0 to 1",
  shift_down: "shift down, of the height",
  shift_right: "shift right, of the width",
  distance: "distance of the centres, of the width",
};

/**
 * @typedef {object} ChangeMap
 * @property {[number, number]} grid
 * @property {Float64Array} base
 * @property {Float64Array} variant
 * @property {Float64Array} change
 * @property {Float64Array} low
 * @property {Float64Array} high
 * @property {number} masked
 * @property {boolean} hasIntervals
 */

/** @param {import("../data/tables.js").Row[]} rows @returns {ChangeMap | null} */
function mapOf(rows) {
  if (!rows.length) return null;
  const size = (/** @type {string} */ axis) => rows.reduce((most, row) => Math.max(most, 1 + Number(row[axis])), 0);
  const grid = /** @type {[number, number]} */ ([size("row"), size("column")]);
  if (rows.length !== grid[0] * grid[1]) return null;
  const place = (/** @type {import("../data/tables.js").Row} */ row) => Number(row.row) * grid[1] + Number(row.column);
  const values = (/** @type {string} */ name) => {
    const held = new Float64Array(rows.length);
    for (const row of rows) held[place(row)] = numberOf(row[name]);
    return held;
  };
  const map = {
    grid,
    base: values("base"),
    variant: values("variant"),
    change: values("change"),
    low: values("low"),
    high: values("high"),
  };
  const kinds = Array.from(map.low, (low, at) => direction({ low, high: map.high[at] }));
  return {
    ...map,
    masked: kinds.filter((kind) => kind === "unsure").length,
    hasIntervals: kinds.some((kind) => kind !== "none"),
  };
}

/** @param {HTMLCanvasElement} canvas @param {ChangeMap} map @param {number} most */
function paintChange(canvas, { grid: [rows, columns], change, low, high }, most) {
  paintDifference(canvas, [rows, columns], (at) =>
    direction({ low: low[at], high: high[at] }) === "unsure" ? null : change[at] / most,
  );
}

/** @param {ChangeMap} map @param {number} at */
function sayPlace({ grid, base, variant, change, low, high }, at) {
  const interval = { low: low[at], high: high[at] };
  const kind = direction(interval);
  const range =
    kind === "none"
      ? "no interval"
      : `${points(interval.low)} to ${points(interval.high)}${kind === "unsure" ? ", holds 0" : ""}`;
  return `row ${Math.floor(at / grid[1])}, column ${at % grid[1]} of ${grid[0]} × ${grid[1]}: ${percent(base[at])} → ${percent(variant[at])}, ${points(change[at])} points (${range})`;
}

/** @param {number} place @param {[number, number]} grid */
const placeText = (place, grid) => `${Math.floor(place / grid[1])},${place % grid[1]}`;

/** @param {string} text @param {[number, number]} grid */
function readPlace(text, [rows, columns]) {
  const [row, column, ...more] = text.split(",").map(Number);
  const fits =
    Number.isInteger(row) && Number.isInteger(column) && row >= 0 && row < rows && column >= 0 && column < columns;
  return text && fits && !more.length ? row * columns + column : null;
}
