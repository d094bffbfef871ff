/**
 * A matrix made as small as the pixels that show it.
 *
 * @typedef {{row: number, column: number, rows: number, columns: number}} Window  of the matrix that is shown
 * @typedef {"most" | "mean"} Pooling  what a pixel shows of the cells behind it
 */

/** @param {number} cells @param {number} pixels @returns {Uint32Array} which cell begins each pixel, and the end */
function edges(cells, pixels) {
  return Uint32Array.from({ length: pixels + 1 }, (_, at) => Math.floor((at * cells) / pixels));
}

/**
 * The largest cell of each pixel, or their mean; where a cell is larger than a pixel, the cell itself.
 * Rows that are none are left out; a pixel without any row is NaN.
 *
 * @param {import("./matrix.js").MatrixSums} sums
 * @param {Window} window
 * @param {number} high pixels
 * @param {number} wide pixels
 * @param {Pooling} pooling
 * @returns {Float32Array} (high · wide)
 */
export function pool(sums, window, high, wide, pooling) {
  const result = new Float32Array(high * wide).fill(NaN);
  const down = edges(window.rows, high);
  const across = edges(window.columns, wide);
  const seen = new Uint32Array(wide);
  for (let y = 0; y < high; y++) {
    const line = result.subarray(y * wide, (y + 1) * wide);
    seen.fill(0);
    for (let at = down[y]; at < Math.max(down[y] + 1, down[y + 1]); at++) {
      const row = window.row + at;
      if (sums.counts[row]) addRow(sums, row, window.column, across, line, pooling === "mean" ? seen : null);
    }
    if (pooling === "mean") for (let x = 0; x < wide; x++) line[x] /= seen[x] || 1;
  }
  return result;
}

/**
 * @param {import("./matrix.js").MatrixSums} sums
 * @param {number} row
 * @param {number} first  column
 * @param {Uint32Array} across
 * @param {Float32Array} line
 * @param {Uint32Array | null} seen  null is for the largest
 */
function addRow(sums, row, first, across, line, seen) {
  const start = row * sums.columns + first;
  const count = sums.counts[row];
  for (let x = 0; x < line.length; x++) {
    const stop = Math.max(across[x] + 1, across[x + 1]);
    let best = 0;
    for (let at = across[x]; at < stop; at++) {
      const value = sums.sum[start + at];
      if (seen) best += value;
      else if (value > best) best = value;
    }
    best /= count;
    if (Number.isNaN(line[x])) line[x] = best;
    else if (seen) line[x] += best;
    else if (best > line[x]) line[x] = best;
    if (seen) seen[x] += stop - across[x];
  }
}

/**
 * The largest cell behind a pixel: what one sees there.
 * @param {import("./matrix.js").MatrixSums} sums
 * @param {Window} window
 * @param {number} down    0 to 1, from the top
 * @param {number} across  0 to 1, from the left
 * @param {number} high pixels
 * @param {number} wide pixels
 * @returns {{row: number, column: number}}
 */
export function cellAt(sums, window, down, across, high, wide) {
  const span = (/** @type {number} */ part, /** @type {number} */ cells, /** @type {number} */ pixels) => {
    const pixel = Math.max(0, Math.min(pixels - 1, Math.floor(part * pixels)));
    const start = Math.floor((pixel * cells) / pixels);
    return [start, Math.max(start + 1, Math.floor(((pixel + 1) * cells) / pixels))];
  };
  const [top, bottom] = span(down, window.rows, high);
  const [left, right] = span(across, window.columns, wide);
  let best = { row: window.row + top, column: window.column + left };
  for (let row = window.row + top; row < window.row + bottom; row++)
    for (let column = window.column + left; column < window.column + right; column++)
      if (sums.value(row, column) > sums.value(best.row, best.column)) best = { row, column };
  return best;
}
