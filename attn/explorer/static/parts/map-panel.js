import { paintDifference, paintScale } from "../draw/paint.js";
import { html, useEffect, useRef } from "../vendor/preact.js";
import { frameStyle, movedPlace, pointedCell } from "./pointing.js";

/**
 * A map among others that share a cursor: hover, a click or Enter pins a place, arrow keys move it.
 *
 * @param {object} props
 * @param {string} props.title
 * @param {any} [props.note]      behind the title
 * @param {string} props.label    for those who do not see it
 * @param {any} [props.under]     what lies below the map
 * @param {(canvas: HTMLCanvasElement) => void} props.paint
 * @param {any[]} props.painted   what the painting depends on
 * @param {[number, number]} props.grid
 * @param {number | null} props.at  the place that is shown
 * @param {() => number | null} props.last  the same, if keys follow faster than frames
 * @param {boolean} props.isPinned
 * @param {(place: number | null) => void} props.onHover
 * @param {(place: number | null) => void} props.onPin
 */
export function MapPanel({ title, note, label, under, paint, painted, grid, at, last, isPinned, onHover, onPin }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [rows, columns] = grid;
  useEffect(() => canvas.current && paint(canvas.current), painted);
  const placeOf = (/** @type {PointerEvent} */ event) => {
    const [row, column] = pointedCell(event, grid);
    return row * columns + column;
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const now = last();
    const next = movedPlace(event.key, now, grid);
    if (next !== null) (isPinned ? onPin : onHover)(next);
    else if (event.key === "Enter" || event.key === " ") onPin(isPinned ? null : (now ?? 0));
    else return;
    event.preventDefault();
  };
  const row = Math.floor((at ?? 0) / columns);
  const column = (at ?? 0) % columns;
  return html`<figure class="panel"><figcaption class="figure-text"><bdi>${title}</bdi>${note && html` <span class="faint">${note}</span>`}</figcaption>
    <div class="panel-box" style=${`aspect-ratio:${columns || 1}/${rows || 1}`} tabindex="0" role="application" aria-label=${label} aria-describedby="place"
      onPointerMove=${(/** @type {PointerEvent} */ event) => !isPinned && onHover(placeOf(event))} onPointerLeave=${() => !isPinned && onHover(null)} onClick=${(/** @type {PointerEvent} */ event) => onPin(isPinned && placeOf(event) === at ? null : placeOf(event))} onKeyDown=${onKey}>
      ${under}<canvas ref=${canvas} aria-hidden="true"></canvas>${at !== null && html`<div class=${`cursor ${isPinned ? "pinned" : ""}`} style=${frameStyle([row, column, row + 1, column + 1], grid)}></div>`}</div></figure>`;
}

/** The scale of maps, or of their changes. @param {{kind: "amount" | "change"}} props */
export function Ramp({ kind }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    if (!canvas.current) return;
    if (kind === "amount") paintScale(canvas.current);
    else paintDifference(canvas.current, [1, 256], (at) => at / 127.5 - 1);
  }, [kind]);
  return html`<canvas ref=${canvas} aria-hidden="true"></canvas>`;
}
