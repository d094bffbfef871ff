import { decimals, largestSize, numberOf } from "../data/tables.js";
import { DIFFERENCE, percent } from "../draw/colours.js";
import { largest, paintMap } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { useFrame } from "../frame.js";
import { visible } from "../safe.js";
import { html, useEffect, useMemo, useRef } from "../vendor/preact.js";
import { direction, points } from "./word-changes.js";

const GREY = [150, 150, 156]; // where the interval holds 0

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
      values: map.base,
      paint: (/** @type {HTMLCanvasElement} */ canvas) => paintMap(canvas, map.base, grid, { top, floor: 1 }),
    },
    {
      id: "variant",
      title: visible(variant),
      values: map.variant,
      paint: (/** @type {HTMLCanvasElement} */ canvas) => paintMap(canvas, map.variant, grid, { top, floor: 1 }),
    },
    {
      id: "change",
      title: "change",
      values: map.change,
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
    <div id="difference" class="panels">${panels.map((panel) => html`<${Panel} key=${panel.id} panel=${panel} map=${map} at=${at} last=${() => pinned ?? last()} isPinned=${pinned !== null} onHover=${hover} onPin=${pin} />`)}
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

/**
 * Paint differences, −1 to 1; null is grey.
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number]} grid
 * @param {(at: number) => number | null} value
 */
export function paintDifference(canvas, [rows, columns], value) {
  canvas.width = columns;
  canvas.height = rows;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) {
    const part = value(at);
    const place = 3 * Math.round(127.5 * (1 + Math.max(-1, Math.min(1, part ?? 0))));
    image.data.set(part === null ? GREY : DIFFERENCE.subarray(place, place + 3), 4 * at);
    image.data[4 * at + 3] = Number.isNaN(part) ? 0 : 255;
  }
  context.putImageData(image, 0, 0);
}

/** @param {any} props */
function Panel({ panel, map, at, last, isPinned, onHover, onPin }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [rows, columns] = map.grid;
  useEffect(() => canvas.current && panel.paint(canvas.current), [map]);
  const cell = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    const index = (/** @type {number} */ part, /** @type {number} */ size) =>
      Math.max(0, Math.min(size - 1, Math.floor(part * size)));
    return (
      index((event.clientY - box.top) / box.height, rows) * columns +
      index((event.clientX - box.left) / box.width, columns)
    );
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const now = last();
    const next = movedPlace(event.key, now, map.grid);
    if (next !== null) (isPinned ? onPin : onHover)(next);
    else if (event.key === "Enter" || event.key === " ") onPin(isPinned ? null : (now ?? 0));
    else return;
    event.preventDefault();
  };
  const place =
    at === null
      ? ""
      : `left:${(100 * (at % columns)) / columns}%;top:${(100 * Math.floor(at / columns)) / rows}%;width:${100 / columns}%;height:${100 / rows}%`;
  return html`<figure class="panel"><figcaption class="figure-text"><bdi>${panel.title}</bdi></figcaption>
    <div class="panel-box" style=${`aspect-ratio:${columns}/${rows}`} tabindex="0" role="application" aria-label=${`Map: ${panel.title}. Arrow keys move, Enter pins a place.`} aria-describedby="place"
      onPointerMove=${(/** @type {PointerEvent} */ event) => !isPinned && onHover(cell(event))} onPointerLeave=${() => !isPinned && onHover(null)} onClick=${(/** @type {PointerEvent} */ event) => onPin(isPinned && cell(event) === at ? null : cell(event))} onKeyDown=${onKey}>
      <canvas ref=${canvas} aria-hidden="true"></canvas>${place && html`<div class=${`cursor ${isPinned ? "pinned" : ""}`} style=${place}></div>`}</div></figure>`;
}

/** The next place by an arrow key; null is no such key. @param {string} key @param {number | null} now @param {[number, number]} grid */
export function movedPlace(key, now, [rows, columns]) {
  const move = /** @type {Record<string, number[]>} */ ({
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
  })[key];
  if (!move) return null;
  if (now === null) return Math.floor(rows / 2) * columns + Math.floor(columns / 2);
  const row = Math.max(0, Math.min(rows - 1, Math.floor(now / columns) + move[0]));
  const column = Math.max(0, Math.min(columns - 1, (now % columns) + move[1]));
  return row * columns + column;
}

/** @param {{kind: "amount" | "change"}} props */
export function Ramp({ kind }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const levels = Float64Array.from({ length: 256 }, (_, at) => at);
    if (!canvas.current) return;
    if (kind === "amount") paintMap(canvas.current, levels, [1, 256], { top: 255, floor: 1 });
    else paintDifference(canvas.current, [1, 256], (at) => at / 127.5 - 1);
  }, [kind]);
  return html`<canvas ref=${canvas} aria-hidden="true"></canvas>`;
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
