/** Maps on grids of other sizes: each new cell is the mean of what it covers, as in Python. */

/** @typedef {{first: number, weights: number[]}} Cover  which old cells a new one covers; weights sum to 1 */

/** @param {number} old @param {number} size @returns {Cover[]} */
export function overlaps(old, size) {
  return Array.from({ length: size }, (_, at) => {
    const first = Math.floor((at * old) / size);
    const last = Math.min(old - 1, Math.ceil(((at + 1) * old) / size) - 1);
    const weights = [];
    for (let cell = first; cell <= last; cell++) {
      const covered = Math.min((at + 1) * old, (cell + 1) * size) - Math.max(at * old, cell * size);
      weights.push(covered / old);
    }
    return { first, weights };
  });
}

/**
 * Which part of a region each old cell has along one axis; the parts sum to 1.
 * @param {number} old
 * @param {number} size
 * @param {number} start
 * @param {number} stop
 */
export function spread(old, size, start, stop) {
  const parts = new Float64Array(old);
  const covers = overlaps(old, size);
  for (let at = start; at < stop; at++)
    covers[at].weights.forEach((weight, place) => {
      parts[covers[at].first + place] += weight / (stop - start);
    });
  return parts;
}

/**
 * @param {Float64Array} values (rows · columns)
 * @param {[number, number]} grid
 * @param {[number, number]} wanted
 */
export function resample(values, [rows, columns], [newRows, newColumns]) {
  if (rows === newRows && columns === newColumns) return values;
  const wide = new Float64Array(rows * newColumns);
  overlaps(columns, newColumns).forEach(({ first, weights }, at) => {
    for (let row = 0; row < rows; row++)
      weights.forEach((weight, place) => {
        wide[row * newColumns + at] += weight * values[row * columns + first + place];
      });
  });
  const result = new Float64Array(newRows * newColumns);
  overlaps(rows, newRows).forEach(({ first, weights }, at) => {
    weights.forEach((weight, place) => {
      for (let column = 0; column < newColumns; column++)
        result[at * newColumns + column] += weight * wide[(first + place) * newColumns + column];
    });
  });
  return result;
}
