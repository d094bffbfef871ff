import { HALF } from "../data/half.js";
import { resample, spread } from "./resample.js";

/** @typedef {{rows: number, columns: number, sum: Float64Array}} GridSum */
/** @typedef {[number, number, number, number]} Region  top, left, bottom, right; the last two not in it */

/**
 * Adds up maps grid by grid, as Python's `trace.means.MapSums`: every step of every layer that ran
 * counts the same, and what did not run is NaN and does not count.
 */
export class MapSums {
  /** @param {number} keys columns of each map */
  constructor(keys) {
    this.keys = keys;
    this.count = 0;
    /** @type {GridSum[]} */
    this.grids = [];
  }

  /** @param {{keys: number, count: number, grids: GridSum[]}} plain as a worker sends it */
  static of(plain) {
    return Object.assign(new MapSums(plain.keys), plain);
  }

  /** What a worker hands over without a copy. @returns {ArrayBuffer[]} */
  get buffers() {
    return this.grids.map((grid) => /** @type {ArrayBuffer} */ (grid.sum.buffer));
  }

  /**
   * @param {[number, number]} grid
   * @param {Float32Array | Uint16Array} maps (query, key); bits of float16, or float32
   */
  add([rows, columns], maps) {
    if (maps.length !== rows * columns * this.keys) throw new Error("a map has another size than the manifest says");
    const isHalf = maps instanceof Uint16Array;
    if (isHalf ? hasNaN16(maps) : maps.some(Number.isNaN)) return;
    const sum = this.#of(rows, columns).sum;
    if (isHalf) for (let i = 0; i < maps.length; i++) sum[i] += HALF[maps[i]];
    else for (let i = 0; i < maps.length; i++) sum[i] += maps[i];
    this.count++;
  }

  /** The finest grid that was added. @returns {[number, number]} */
  get grid() {
    const [first, ...others] = this.grids;
    if (!first) return [0, 0];
    const finest = others.reduce((a, b) => (b.rows * b.columns > a.rows * a.columns ? b : a), first);
    return [finest.rows, finest.columns];
  }

  /**
   * One map: the sum over some keys, on the finest grid.
   * @param {number[]} keys
   */
  map(keys) {
    const [rows, columns] = this.grid;
    const result = new Float64Array(rows * columns);
    for (const { rows: r, columns: c, sum } of this.grids) {
      const flat = new Float64Array(r * c);
      for (let cell = 0; cell < flat.length; cell++) for (const key of keys) flat[cell] += sum[cell * this.keys + key];
      resample(flat, [r, c], [rows, columns]).forEach((value, at) => {
        result[at] += value / this.count;
      });
    }
    return result;
  }

  /**
   * What a region of the finest grid reads: per key, mean over its cells.
   * @param {Region} region
   */
  amounts([top, left, bottom, right]) {
    const [rows, columns] = this.grid;
    const result = new Float64Array(this.keys);
    for (const { rows: r, columns: c, sum } of this.grids) {
      const down = spread(r, rows, top, bottom);
      const across = spread(c, columns, left, right);
      for (let row = 0; row < r; row++) {
        if (!down[row]) continue;
        for (let column = 0; column < c; column++) {
          const weight = (down[row] * across[column]) / this.count;
          if (!weight) continue;
          const base = (row * c + column) * this.keys;
          for (let key = 0; key < this.keys; key++) result[key] += weight * sum[base + key];
        }
      }
    }
    return result;
  }

  /** What the whole picture reads, per key. */
  whole() {
    const [rows, columns] = this.grid;
    return this.amounts([0, 0, rows, columns]);
  }

  /** @param {number} rows @param {number} columns */
  #of(rows, columns) {
    const same = this.grids.find((one) => one.rows === rows && one.columns === columns);
    if (same) return same;
    const made = { rows, columns, sum: new Float64Array(rows * columns * this.keys) };
    this.grids.push(made);
    return made;
  }
}

/** Whether a number is none. @param {Uint16Array} halves bits of float16 */
export function hasNaN16(halves) {
  for (let i = 0; i < halves.length; i++) if ((halves[i] & 0x7fff) > 0x7c00) return true;
  return false;
}
