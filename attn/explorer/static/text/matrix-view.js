import { DIFFERENCE, INFERNO, percent } from "../draw/colours.js";
import { ARROWS, clamped } from "../parts/pointing.js";
import { cellAt, pool } from "../sums/pooling.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { shortened } from "./text-pane.js";

/**
 * A matrix with its axes: hover, arrows and clicks for cells, drag or + and − to come nearer.
 *
 * @typedef {import("../sums/pooling.js").Window} Window
 * @typedef {{row: number, column: number}} Cell
 * @typedef {{name: string, start: number, stop: number}} Span  of an axis
 *
 * @typedef {object} Axes
 * @property {string[]} rows        texts of the tokens
 * @property {string[]} columns
 * @property {Span[]} rowSpans      segments
 * @property {Span[]} columnSpans
 */

const LABELLED = 9; // pixels of a cell from which on tokens are written beside it
const GUTTER = { left: 104, right: 6, strip: 30 };
const TOKENS_ABOVE = 112; // pixels for the tokens of columns
const SEGMENTS_ABOVE = 22;
const JUMP = 10;

/**
 * @param {object} props
 * @param {import("../sums/matrix.js").MatrixSums} props.sums
 * @param {Float64Array | null} props.received  nothing is drawn above the matrix
 * @param {Axes} props.axes
 * @param {Window} props.window
 * @param {number} props.top        what the brightest colour means
 * @param {"root" | "linear"} props.scale
 * @param {import("../sums/pooling.js").Pooling} props.pooling
 * @param {Cell | null} props.cell
 * @param {() => Cell | null} props.last  the same, if keys follow faster than frames
 * @param {boolean} props.isPinned
 * @param {(cell: Cell | null) => void} props.onHover
 * @param {(cell: Cell | null) => void} props.onPin
 * @param {(window: Window) => void} props.onWindow
 * @param {boolean} [props.isSigned]  whether cells are differences, on a scale symmetric about 0
 * @param {string} props.label
 * @param {string} [props.name]     of the element: several matrices can stand on a page
 * @param {any} [props.children]  what belongs to the figure, below
 */
export function MatrixView(props) {
  const {
    sums,
    window: shown,
    top,
    scale,
    pooling,
    cell,
    isPinned,
    onHover,
    onPin,
    onWindow,
    isSigned = false,
  } = props;
  const name = props.name ?? "matrix";
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [width, setWidth] = useState(620);
  const [drag, setDrag] = useState(/** @type {{from: Cell, to: Cell} | null} */ (null));
  useLayoutEffect(() => {
    const look = () => setWidth(Math.max(320, box.current?.parentElement?.clientWidth ?? 620));
    look();
    window.addEventListener("resize", look);
    return () => window.removeEventListener("resize", look);
  }, []);
  const side = sideOf(width, shown);
  const pixels = pixelsOf(side);
  useEffect(() => {
    if (canvas.current)
      paint(canvas.current, pool(sums, shown, pixels.high, pixels.wide, pooling), pixels, top, scale, isSigned);
  }, [sums, ...Object.values(shown), pixels.high, pixels.wide, pooling, top, scale, isSigned]);

  const at = (/** @type {PointerEvent} */ event) => {
    const area = /** @type {HTMLCanvasElement} */ (canvas.current).getBoundingClientRect();
    const down = (event.clientY - area.top) / area.height;
    const across = (event.clientX - area.left) / area.width;
    return cellAt(sums, shown, down, across, pixels.high, pixels.wide);
  };
  const onMove = (/** @type {PointerEvent} */ event) => {
    const pointed = at(event);
    if (drag) setDrag({ ...drag, to: pointed });
    if (!isPinned) onHover(pointed);
  };
  const onDown = (/** @type {PointerEvent} */ event) => {
    if (event.button) return;
    /** @type {HTMLElement} */ (event.currentTarget).setPointerCapture(event.pointerId);
    setDrag({ from: at(event), to: at(event) });
  };
  const onUp = () => {
    if (!drag) return;
    setDrag(null);
    const near = spanned(drag.from, drag.to);
    if (near.rows > 2 && near.columns > 2) onWindow(near);
    else onPin(isPinned && same(cell, drag.to) ? null : drag.to);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const now = props.last() ?? { row: shown.row + (shown.rows >> 1), column: shown.column + (shown.columns >> 1) };
    const move = ARROWS[event.key];
    if (move) {
      const by = event.shiftKey ? JUMP : 1;
      const next = {
        row: clamped(now.row + by * move[0], sums.rows),
        column: clamped(now.column + by * move[1], sums.columns),
      };
      (isPinned ? onPin : onHover)(props.last() ? next : now);
      onWindow(movedWindow(shown, next, sums));
    } else if (event.key === "Enter" || event.key === " ") onPin(isPinned ? null : now);
    else if (event.key === "+" || event.key === "=") onWindow(zoomedWindow(shown, now, 0.5, sums));
    else if (event.key === "-") onWindow(zoomedWindow(shown, now, 2, sums));
    else if (event.key === "0") onWindow({ row: 0, column: 0, rows: sums.rows, columns: sums.columns });
    else return;
    event.preventDefault();
  };
  const middle = cell ?? { row: shown.row + (shown.rows >> 1), column: shown.column + (shown.columns >> 1) };
  const isWhole = shown.rows === sums.rows && shown.columns === sums.columns;
  return html`<div class="zoom"><button onClick=${() => onWindow(zoomedWindow(shown, middle, 0.5, sums))}>nearer <kbd>+</kbd></button>
      <button onClick=${() => onWindow(zoomedWindow(shown, middle, 2, sums))} disabled=${isWhole}>farther <kbd>−</kbd></button>
      <button onClick=${() => onWindow({ row: 0, column: 0, rows: sums.rows, columns: sums.columns })} disabled=${isWhole}>whole <kbd>0</kbd></button></div>
    <div id=${`${name}-figure`}><div id=${name} ref=${box} class="matrix" style=${`width:${width}px;height:${side.top + side.high + 4}px`} tabindex="0" role="application" aria-label=${`${props.label}. Arrow keys move over its cells, with Shift by ${JUMP}, plus and minus come nearer and farther, Enter pins a cell, Escape frees it.`} aria-describedby=${props.name ? `${name}-cell` : "cell"}
      onPointerMove=${onMove} onPointerDown=${onDown} onPointerUp=${onUp} onPointerLeave=${() => !isPinned && !drag && onHover(null)} onKeyDown=${onKey}>
      <canvas ref=${canvas} aria-hidden="true" style=${`left:${GUTTER.left}px;top:${side.top}px;width:${side.wide}px;height:${side.high}px`}></canvas>
      <${Overlay} axes=${props.axes} shown=${shown} side=${side} width=${width} received=${props.received} />
      <svg class="cross" width=${width} height=${side.top + side.high + 4} aria-hidden="true">${cell && crossOf(cell, shown, side, isPinned)}${drag && dragOf(drag, shown, side)}</svg></div>${props.children}</div>`;
}

/** @param {number} width @param {Window} shown */
function sideOf(width, { rows, columns }) {
  const wide = width - GUTTER.left - GUTTER.right;
  const high = Math.round(wide * Math.max(0.15, Math.min(1.2, rows / columns)));
  return { wide, high, top: GUTTER.strip + (wide / columns < LABELLED ? SEGMENTS_ABOVE : TOKENS_ABOVE) };
}

/** @param {{wide: number, high: number}} side */
function pixelsOf({ wide, high }) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  return { wide: Math.round(wide * ratio), high: Math.round(high * ratio) };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} values
 * @param {{wide: number, high: number}} pixels
 * @param {number} top
 * @param {"root" | "linear"} scale
 * @param {boolean} isSigned
 */
function paint(canvas, values, { wide, high }, top, scale, isSigned) {
  canvas.width = wide;
  canvas.height = high;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = isSigned ? DIFFERENCE : INFERNO;
  const table = Uint32Array.from(
    { length: 256 },
    (_, at) => (255 << 24) | (colours[3 * at + 2] << 16) | (colours[3 * at + 1] << 8) | colours[3 * at],
  ); // prettier-ignore
  for (let at = 0; at < values.length; at++) {
    const part = Math.max(-1, Math.min(1, values[at] / top));
    if (Number.isNaN(part)) continue;
    const level = scale === "root" ? Math.sign(part) * Math.sqrt(Math.abs(part)) : part;
    pixels[at] = table[Math.round(isSigned ? 127.5 * (1 + level) : 255 * level)];
  }
  context.putImageData(image, 0, 0);
}

/** Tokens, segments, and what each column gets. @param {{axes: Axes, shown: Window, side: any, width: number, received: Float64Array | null}} props */
function Overlay({ axes, shown, side, width, received }) {
  return useMemo(() => {
    const high = side.high / shown.rows;
    const wide = side.wide / shown.columns;
    const y = (/** @type {number} */ row) => side.top + (row - shown.row) * high;
    const x = (/** @type {number} */ column) => GUTTER.left + (column - shown.column) * wide;
    const size = (/** @type {number} */ cell) => Math.min(12, 0.85 * cell);
    const rows = high < LABELLED ? [] : listed(shown.row, shown.rows);
    const columns = wide < LABELLED ? [] : listed(shown.column, shown.columns);
    const base = side.top - GUTTER.strip - 4;
    return html`<svg class="axes" width=${width} height=${side.top + side.high + 4} aria-hidden="true">
      ${rows.map((row) => html`<text x=${GUTTER.left - 5} y=${y(row + 0.5)} font-size=${size(high)} text-anchor="end" dominant-baseline="central">${shortened(axes.rows[row])}</text>`)}
      ${columns.map((column) => html`<text transform=${`translate(${x(column + 0.5)} ${base}) rotate(-90)`} font-size=${size(wide)} text-anchor="start" dominant-baseline="central">${shortened(axes.columns[column])}</text>`)}
      ${inside(axes.rowSpans, shown.row, shown.rows).map(({ name, start, stop }) => html`${start > shown.row && html`<line x1=${GUTTER.left} x2=${GUTTER.left + side.wide} y1=${y(start)} y2=${y(start)} />`}${!rows.length && html`<text x=${GUTTER.left - 5} y=${y((start + stop) / 2)} font-size="12" text-anchor="end" dominant-baseline="central">${shortened(name)}</text>`}`)}
      ${inside(axes.columnSpans, shown.column, shown.columns).map(({ name, start, stop }) => html`${start > shown.column && html`<line x1=${x(start)} x2=${x(start)} y1=${side.top} y2=${side.top + side.high} />`}${!columns.length && html`<text x=${x((start + stop) / 2)} y=${base - 2} font-size="12" text-anchor="middle">${shortened(name)}</text>`}`)}
      ${
        received &&
        html`<path class="received" d=${profilePath(received, shown, side)} />
      <text x=${GUTTER.left - 5} y=${side.top - 4} font-size="11" text-anchor="end">gets, mean</text>
      <text x=${GUTTER.left - 5} y=${side.top - GUTTER.strip + 9} font-size="11" text-anchor="end">${percent(largestOf(received, shown))}</text>`
      }</svg>`;
  }, [axes, ...Object.values(shown), side.wide, side.high, received]);
}

/** @param {number} first @param {number} count */
const listed = (first, count) => Array.from({ length: count }, (_, at) => first + at);

/** @param {Span[]} spans @param {number} first @param {number} count @returns {Span[]} */
const inside = (spans, first, count) =>
  spans
    .map((span) => ({ ...span, start: Math.max(span.start, first), stop: Math.min(span.stop, first + count) }))
    .filter((span) => span.start < span.stop);

/** @param {Float64Array} received @param {Window} shown */
function largestOf(received, { column, columns }) {
  let top = 0;
  for (let at = column; at < column + columns; at++) if (received[at] > top) top = received[at];
  return top;
}

/** @param {Float64Array} received @param {Window} shown @param {{wide: number, top: number}} side */
function profilePath(received, shown, side) {
  const top = largestOf(received, shown) || 1;
  const bars = Math.min(shown.columns, Math.round(side.wide));
  let path = `M${GUTTER.left} ${side.top - 3}`;
  for (let bar = 0; bar < bars; bar++) {
    const first = Math.floor((bar * shown.columns) / bars);
    const stop = Math.max(first + 1, Math.floor(((bar + 1) * shown.columns) / bars));
    let most = 0;
    for (let at = first; at < stop; at++) most = Math.max(most, received[shown.column + at] || 0);
    const y = (side.top - 3 - ((GUTTER.strip - 6) * most) / top).toFixed(1);
    path += `V${y}H${(GUTTER.left + ((bar + 1) * side.wide) / bars).toFixed(1)}`;
  }
  return `${path}V${side.top - 3}Z`;
}

/** @param {Cell} cell @param {Window} shown @param {any} side @param {boolean} isPinned */
function crossOf(cell, shown, side, isPinned) {
  const high = side.high / shown.rows;
  const wide = side.wide / shown.columns;
  const band = (/** @type {number} */ start, /** @type {number} */ size, /** @type {number} */ least) => [
    start - Math.max(0, least - size) / 2,
    Math.max(size, least),
  ];
  const [y, h] = band(side.top + (cell.row - shown.row) * high, high, 3);
  const [x, w] = band(GUTTER.left + (cell.column - shown.column) * wide, wide, 3);
  const isRow = cell.row >= shown.row && cell.row < shown.row + shown.rows;
  const isColumn = cell.column >= shown.column && cell.column < shown.column + shown.columns;
  const kind = isPinned ? "pinned" : "";
  const bands = [
    isRow && { x: GUTTER.left, y, width: side.wide, height: h },
    isColumn && { x, y: side.top, width: w, height: side.high },
  ].filter(Boolean);
  return bands.map((place) => html`<rect class="under" ...${place} /><rect class=${kind} ...${place} />`);
}

/** @param {{from: Cell, to: Cell}} drag @param {Window} shown @param {any} side */
function dragOf({ from, to }, shown, side) {
  const near = spanned(from, to);
  if (near.rows < 3 || near.columns < 3) return null;
  const high = side.high / shown.rows;
  const wide = side.wide / shown.columns;
  return html`<rect class="drag" x=${GUTTER.left + (near.column - shown.column) * wide} y=${side.top + (near.row - shown.row) * high} width=${near.columns * wide} height=${near.rows * high} />`;
}

/** @param {Cell} a @param {Cell} b @returns {Window} */
function spanned(a, b) {
  const row = Math.min(a.row, b.row);
  const column = Math.min(a.column, b.column);
  return { row, column, rows: Math.abs(a.row - b.row) + 1, columns: Math.abs(a.column - b.column) + 1 };
}

/** @param {Cell | null} a @param {Cell} b */
const same = (a, b) => a?.row === b.row && a.column === b.column;

/** @param {Window} shown @param {Cell} cell @param {number} factor @param {{rows: number, columns: number}} sums @returns {Window} */
function zoomedWindow(shown, cell, factor, sums) {
  const axis = (
    /** @type {number} */ first,
    /** @type {number} */ count,
    /** @type {number} */ at,
    /** @type {number} */ all,
  ) => {
    const size = Math.max(Math.min(4, all), Math.min(all, Math.round(count * factor)));
    const part = count > 1 ? (at - first) / count : 0;
    return [Math.max(0, Math.min(all - size, Math.round(at - part * size))), size];
  };
  const [row, rows] = axis(shown.row, shown.rows, cell.row, sums.rows);
  const [column, columns] = axis(shown.column, shown.columns, cell.column, sums.columns);
  return { row, column, rows, columns };
}

/** The same window, so far on that a cell is in it. @param {Window} shown @param {Cell} cell @param {{rows: number, columns: number}} sums @returns {Window} */
function movedWindow(shown, cell, sums) {
  const axis = (
    /** @type {number} */ first,
    /** @type {number} */ count,
    /** @type {number} */ at,
    /** @type {number} */ all,
  ) => (at >= first && at < first + count ? first : Math.max(0, Math.min(all - count, at - (count >> 1))));
  return {
    ...shown,
    row: axis(shown.row, shown.rows, cell.row, sums.rows),
    column: axis(shown.column, shown.columns, cell.column, sums.columns),
  };
}

/** A window as it stands in the address. @param {Window} shown @param {{rows: number, columns: number}} sums */
export function windowText(shown, sums) {
  const isAll = shown.rows === sums.rows && shown.columns === sums.columns;
  return isAll ? "" : [shown.row, shown.column, shown.rows, shown.columns].join(",");
}

/** A window of the address; null is none of this matrix. @param {string} text @param {{rows: number, columns: number}} sums @returns {Window | null} */
export function parseWindow(text, sums) {
  const [row, column, rows, columns] = text.split(",").map(Number);
  const fits = (/** @type {number} */ first, /** @type {number} */ count, /** @type {number} */ all) =>
    Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count > 0 && first + count <= all;
  return fits(row, rows, sums.rows) && fits(column, columns, sums.columns) ? { row, column, rows, columns } : null;
}

/** The same, or the whole. @param {string} text @param {{rows: number, columns: number}} sums @returns {Window} */
export const readWindow = (text, sums) =>
  parseWindow(text, sums) ?? { row: 0, column: 0, rows: sums.rows, columns: sums.columns };
