import { paintMap } from "../draw/paint.js";
import { ARROWS, frameStyle, pointedCell } from "../parts/pointing.js";
import { TraceImage } from "../parts/trace-image.js";
import { visible } from "../safe.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

/** @typedef {import("../sums/sums.js").Region} Region */

/**
 * The picture with a map over it: hover, drag or use arrows for what places read.
 *
 * @param {object} props
 * @param {string | null} props.picture   address
 * @param {string} props.absence          what stands in its place where there is none
 * @param {string | null} props.sketch    address
 * @param {string} props.label            of the map
 * @param {(canvas: HTMLCanvasElement) => void} props.paint
 * @param {any[]} props.painted           what the painting depends on
 * @param {[number, number]} props.grid
 * @param {Region | null} props.region    the place that is shown
 * @param {() => Region | null} props.last  the same, if keys follow faster than frames
 * @param {boolean} props.isPinned
 * @param {(region: Region | null) => void} props.onHover
 * @param {(region: Region | null) => void} props.onPin
 * @param {string} props.say
 * @param {boolean} props.smooth
 * @param {number} props.fade             0 to 1, how much of the picture's colour is taken away
 * @param {any} [props.children]          what belongs to the figure, below
 */
export function Stage(props) {
  const { grid, region, isPinned, onHover, onPin } = props;
  const map = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [corner, setCorner] = useState(/** @type {[number, number] | null} */ (null));
  const [ratio, setRatio] = useState(grid[0] ? grid[1] / grid[0] : 1);
  useEffect(() => map.current && props.paint(map.current), props.painted);

  const onMove = (/** @type {PointerEvent} */ event) => {
    if (!isPinned || corner) onHover(between(corner ?? pointedCell(event, grid), pointedCell(event, grid)));
  };
  const onDown = (/** @type {PointerEvent} */ event) => {
    if (event.button) return;
    /** @type {HTMLElement} */ (event.currentTarget).setPointerCapture(event.pointerId);
    setCorner(pointedCell(event, grid));
  };
  const onUp = (/** @type {PointerEvent} */ event) => {
    if (!corner) return;
    const chosen = between(corner, pointedCell(event, grid));
    setCorner(null);
    onPin(region && isPinned && same(region, chosen) ? null : chosen);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const move = ARROWS[event.key];
    const last = props.last();
    const now = last ?? middle(grid);
    if (move) {
      const next = last ? moved(now, move, grid, event.shiftKey) : now;
      if (isPinned) onPin(next);
      else onHover(next);
    } else if (event.key === "Enter" || event.key === " ") onPin(isPinned ? null : now);
    else return;
    event.preventDefault();
  };
  return html`<div id="picture-figure"><div id="stage" class=${`stage ${props.smooth ? "" : "cells"}`} style=${`--ratio:${ratio}`} tabindex="0" role="application" aria-label="Image. Arrow keys move over its places, with Shift they widen the region, Enter pins it, Escape frees it." aria-describedby="say"
      onPointerMove=${onMove} onPointerDown=${onDown} onPointerUp=${onUp} onPointerLeave=${() => !isPinned && !corner && onHover(null)} onKeyDown=${onKey}>
    ${props.picture ? html`<${TraceImage} source=${props.picture} alt="The generated image" draggable=${false} onLoad=${(/** @type {any} */ event) => setRatio(event.target.naturalWidth / event.target.naturalHeight || 1)} style=${`filter:grayscale(${props.fade})`} />` : html`<div class="no-picture" style=${`aspect-ratio:${grid[1] || 1}/${grid[0] || 1}`}>${props.absence}</div>`}
    <canvas ref=${map} aria-hidden="true"></canvas>
    ${props.sketch && html`<${TraceImage} class="sketch" source=${props.sketch} alt="The drawing that the model was given" draggable=${false} />`}
    ${region && html`<div class=${`cursor ${isPinned ? "pinned" : ""}`} style=${grid[0] ? frameStyle(region, grid) : ""}></div>`}
  </div>${props.children}</div>
  <p id="say" class="say" aria-live="polite">${props.say}</p>`;
}

/** A small map over a small picture, for pins and steps. @param {{picture: string | null, values: Float64Array | null, grid: [number, number], top: number, label: any, alpha: number, isCurrent?: boolean, onChoose?: () => void}} props */
export function Thumb({ picture, values, grid, top, label, alpha, isCurrent, onChoose }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    if (canvas.current && values) paintMap(canvas.current, values, grid, { top, alpha });
  }, [values, top, alpha]);
  return html`<button class="thumb" aria-pressed=${String(Boolean(isCurrent))} onClick=${onChoose}>
    <span class="thumb-box" style=${`aspect-ratio:${grid[1] || 1}/${grid[0] || 1}`}>${picture && html`<${TraceImage} source=${picture} />`}<canvas ref=${canvas} aria-hidden="true"></canvas></span><span class="thumb-label figure-text">${label}</span>
  </button>`;
}

/** @param {[number, number]} a @param {[number, number]} b @returns {Region} */
const between = (a, b) => [
  Math.min(a[0], b[0]),
  Math.min(a[1], b[1]),
  Math.max(a[0], b[0]) + 1,
  Math.max(a[1], b[1]) + 1,
];

/** @param {Region} a @param {Region} b */
const same = (a, b) => a.every((value, at) => value === b[at]);

/** @param {[number, number]} grid @returns {Region} */
const middle = ([rows, columns]) => [rows >> 1, columns >> 1, (rows >> 1) + 1, (columns >> 1) + 1];

/** @param {Region} region @param {number[]} move @param {[number, number]} grid @param {boolean} widens @returns {Region} */
function moved([top, left, bottom, right], [down, across], [rows, columns], widens) {
  if (widens)
    return [
      top,
      left,
      Math.max(top + 1, Math.min(rows, bottom + down)),
      Math.max(left + 1, Math.min(columns, right + across)),
    ];
  const dy = Math.max(-top, Math.min(rows - bottom, down));
  const dx = Math.max(-left, Math.min(columns - right, across));
  return [top + dy, left + dx, bottom + dy, right + dx];
}

/** A region as it stands in the address. @param {Region | null} region */
export const regionText = (region) => region?.join(",") ?? "";

/** @param {string} text @param {[number, number]} grid @returns {Region | null} */
export function readRegion(text, [rows, columns]) {
  const [top, left, bottom, right, ...more] = text.split(",").map(Number);
  const fits =
    Number.isInteger(top) &&
    Number.isInteger(left) &&
    0 <= top &&
    top < bottom &&
    bottom <= rows &&
    0 <= left &&
    left < right &&
    right <= columns;
  return fits && Number.isInteger(bottom) && Number.isInteger(right) && !more.length
    ? [top, left, bottom, right]
    : null;
}

/** @param {Region} region @param {[number, number]} grid */
export function describeRegion([top, left, bottom, right], [rows, columns]) {
  const span = (/** @type {number} */ first, /** @type {number} */ stop) =>
    stop - first === 1 ? `${first}` : `${first}–${stop - 1}`;
  const many = (bottom - top) * (right - left);
  return visible(
    `row ${span(top, bottom)}, column ${span(left, right)} of ${rows} × ${columns}${many > 1 ? `, mean of ${many} cells` : ""}`,
  );
}
