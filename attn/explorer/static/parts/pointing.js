/**
 * Pointing at a cell of a grid, with the pointer or with arrow keys.
 *
 * @typedef {[number, number]} Grid  rows and columns; of a cell, its row and its column
 */

/** What an arrow key adds to row and column. @type {Record<string, Grid>} */
export const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** The nearest index of so many. @param {number} value @param {number} size */
export const clamped = (value, size) => Math.max(0, Math.min(size - 1, value));

/** The cell below the pointer. @param {MouseEvent} event @param {Grid} grid @returns {Grid} */
export function pointedCell(event, [rows, columns]) {
  const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
  return [
    clamped(Math.floor(((event.clientY - box.top) / box.height) * rows), rows),
    clamped(Math.floor(((event.clientX - box.left) / box.width) * columns), columns),
  ];
}

/** The next place by an arrow key; null is no such key. @param {string} key @param {number | null} now @param {Grid} grid */
export function movedPlace(key, now, [rows, columns]) {
  const move = ARROWS[key];
  if (!move) return null;
  if (now === null) return (rows >> 1) * columns + (columns >> 1);
  const row = clamped(Math.floor(now / columns) + move[0], rows);
  return row * columns + clamped((now % columns) + move[1], columns);
}

/** Where a region's frame lies, as a style. @param {import("../sums/sums.js").Region} region @param {Grid} grid */
export function frameStyle([top, left, bottom, right], [rows, columns]) {
  return `left:${(100 * left) / columns}%;top:${(100 * top) / rows}%;width:${(100 * (right - left)) / columns}%;height:${(100 * (bottom - top)) / rows}%`;
}
