import { DIFFERENCE, INFERNO, rgb } from "./colours.js";

const GREY = [150, 150, 156]; // where the interval holds 0
const FLOOR = 0.5; // of the opacity of a map, where it is zero

/**
 * Paint a map into a canvas, a pixel for a cell; the page makes it larger.
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array} values (rows · columns)
 * @param {[number, number]} grid
 * @param {{top: number, threshold?: number, alpha?: number, floor?: number}} how  values below threshold · top are left out
 */
export function paintMap(canvas, values, [rows, columns], { top, threshold = 0, alpha = 1, floor = FLOOR }) {
  paintCells(canvas, rows, columns, (at, pixel) => {
    const level = top > 0 ? Math.max(0, Math.min(1, values[at] / top)) : 0;
    const place = 3 * Math.round(255 * level);
    for (let c = 0; c < 3; c++) pixel[c] = INFERNO[place + c];
    pixel[3] = level < threshold ? 0 : 255 * alpha * (floor + (1 - floor) * level); // where little is, the picture shows
  });
}

/**
 * Paint which of several maps is strongest in each cell.
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array[]} maps each against its own mean
 * @param {[number, number]} grid
 * @param {string[]} colours
 * @param {number} alpha
 */
export function paintStrongest(canvas, maps, [rows, columns], colours, alpha) {
  const table = colours.map(rgb);
  paintCells(canvas, rows, columns, (at, pixel) => {
    let best = 0;
    maps.forEach((map, place) => {
      if (map[at] > maps[best][at]) best = place;
    });
    for (let c = 0; c < 3; c++) pixel[c] = table[best][c];
    pixel[3] = maps[best][at] > 1 ? 255 * alpha : 0; // nowhere more than on the whole picture: nobody's
  });
}

/**
 * Paint differences, −1 to 1; null is grey.
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number]} grid
 * @param {(at: number) => number | null} value
 */
export function paintDifference(canvas, [rows, columns], value) {
  paintCells(canvas, rows, columns, (at, pixel) => {
    const part = value(at);
    const place = 3 * Math.round(127.5 * (1 + Math.max(-1, Math.min(1, part ?? 0))));
    pixel.set(part === null ? GREY : DIFFERENCE.subarray(place, place + 3));
    pixel[3] = Number.isNaN(part) ? 0 : 255;
  });
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} rows
 * @param {number} columns
 * @param {(at: number, pixel: Uint8ClampedArray) => void} colour
 */
function paintCells(canvas, rows, columns, colour) {
  if (canvas.width !== columns) canvas.width = columns;
  if (canvas.height !== rows) canvas.height = rows;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) colour(at, image.data.subarray(4 * at, 4 * at + 4));
  context.putImageData(image, 0, 0);
}

/** @param {HTMLCanvasElement} canvas */
export function paintScale(canvas) {
  paintMap(
    canvas,
    Float64Array.from({ length: 256 }, (_, at) => at),
    [1, 256],
    { top: 255, floor: 1 },
  );
}

/** @param {Float64Array} values */
export function largest(values) {
  let top = 0;
  for (const value of values) if (value > top) top = value;
  return top;
}
