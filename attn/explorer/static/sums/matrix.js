import { HALF } from "../data/half.js";
import { Shard } from "../data/safetensors.js";
import { exactRow } from "./factors.js";
import { readFactors } from "./reader.js";
import { hasNaN16 } from "./sums.js";

/**
 * Whole matrices of attention, added up as Python does: each row of each layer and step that was
 * computed counts the same, and rows that are NaN are none.
 *
 * @typedef {object} MatrixJob  what is to be added up, as plain data that a worker can be sent
 * @property {"matrix"} kind
 * @property {string} base      address of the trace
 * @property {string} block
 * @property {{file: string, bytes: number, window: number[] | null}[]} shards
 *   `window` is [first query, end, first key, end] that a step of a growing text has
 * @property {{index: number, heads: number}[]} layers
 * @property {number[]} queries   places of the rows in a layer's queries
 * @property {number[][]} keys    places of the columns in a layer's keys
 * @property {number} cell        place of branch and sample: branch · samples + sample
 * @property {number[] | null} heads  null is all of them
 * @property {{rows: number[], of: number} | null} [only]  which of how many stored rows these queries are
 */

const PRECISE = 4e6; // cells up to which sums are kept in float64
const SAMPLED = 40_009; // cells from which the usual size of a cell is told; a prime, so that no column is preferred
const MOST_CELLS_BELOW = 0.99;

export class MatrixSums {
  /** @param {number} rows @param {number} columns */
  constructor(rows, columns) {
    this.rows = rows;
    this.columns = columns;
    /** How many of each row were added. */
    this.counts = new Uint32Array(rows);
    const Numbers = rows * columns > PRECISE ? Float32Array : Float64Array;
    /** @type {Float32Array | Float64Array} */
    this.sum = new Numbers(rows * columns);
    this.received = new Float64Array(columns);
    this.largest = 0;
    this.usual = 0;
  }

  /** @param {any} plain as a worker sends it */
  static of(plain) {
    return Object.assign(Object.create(MatrixSums.prototype), plain);
  }

  /** Whether anything was added. */
  get count() {
    return this.counts.some(Boolean) ? 1 : 0;
  }

  /** What a worker hands over without a copy. @returns {ArrayBuffer[]} */
  get buffers() {
    return /** @type {ArrayBuffer[]} */ ([this.counts.buffer, this.sum.buffer, this.received.buffer]);
  }

  /**
   * @param {Uint16Array | Float32Array} values bits of float16, or float32: rows of `width` numbers
   * @param {number[]} rows   which rows they are
   * @param {number} width    their columns, the first of the matrix
   */
  add(values, rows, width) {
    if (values.length !== rows.length * width) throw new Error("a matrix has another size than the manifest says");
    rows.forEach((row, at) => {
      const held = values.subarray(at * width, (at + 1) * width);
      if (held instanceof Uint16Array ? hasNaN16(held) : held.some(Number.isNaN)) return;
      const line = this.sum.subarray(row * this.columns, row * this.columns + width);
      if (held instanceof Uint16Array) for (let i = 0; i < width; i++) line[i] += HALF[held[i]];
      else for (let i = 0; i < width; i++) line[i] += held[i];
      this.counts[row]++;
    });
  }

  /** Work out what all of it says, when nothing more is added. */
  finish() {
    const there = this.counts.reduce((sum, count) => sum + (count ? 1 : 0), 0);
    const received = new Float64Array(this.columns);
    let largest = 0;
    for (let row = 0; row < this.rows; row++) {
      const part = 1 / this.counts[row];
      if (!Number.isFinite(part)) continue;
      for (let column = 0, at = row * this.columns; column < this.columns; column++, at++) {
        const value = this.sum[at] * part;
        received[column] += value;
        if (value > largest) largest = value;
      }
    }
    /** What each column gets, mean over the rows that there are. */
    this.received = received.map((sum) => sum / there);
    this.largest = largest;
    this.usual = this.#usual();
    return this;
  }

  /** What most cells lie below, so that a few sinks do not leave all others dark. */
  #usual() {
    const every = Math.ceil(this.sum.length / SAMPLED);
    const values = [];
    for (let at = 0; at < this.sum.length; at += every) {
      const count = this.counts[Math.floor(at / this.columns)];
      if (count) values.push(this.sum[at] / count);
    }
    values.sort((a, b) => a - b);
    return values[Math.floor(MOST_CELLS_BELOW * (values.length - 1))] ?? 0;
  }

  /** @param {number} row @param {number} column what the row gives to the column; NaN of a row that is none */
  value(row, column) {
    return this.counts[row] ? this.sum[row * this.columns + column] / this.counts[row] : NaN;
  }

  /** @param {number} row @returns {Float64Array} what it reads, by column */
  row(row) {
    return Float64Array.from({ length: this.columns }, (_, column) => this.value(row, column));
  }

  /** @param {number} column @returns {Float64Array} who reads it, by row */
  column(column) {
    return Float64Array.from({ length: this.rows }, (_, row) => this.value(row, column));
  }
}

/**
 * @param {import("../data/source.js").Source} source
 * @param {MatrixJob} job
 * @param {(done: number, all: number) => boolean | Promise<boolean>} tell  false ends the job
 */
export async function readMatrix(source, job, tell) {
  const sums = new MatrixSums(job.queries.length, job.keys.length);
  for (const [at, shard] of job.shards.entries()) {
    const opened = new Shard(source, shard.file, shard.bytes);
    for (const layer of job.layers) await addLayer(opened, layer, stepRows(job, shard.window), job, sums);
    if (!(await tell(at + 1, job.shards.length))) break;
  }
  return sums.finish();
}

/**
 * Which rows and columns a step has.
 * @param {MatrixJob} job
 * @param {number[] | null} window
 * @returns {{rows: number[], width: number, first: number}}  first: place of the step's first query
 */
function stepRows({ queries, keys }, window) {
  const rows = queries.map((_, row) => row);
  if (!window) return { rows, width: keys.length, first: 0 };
  const [start, stop, , end] = window;
  const isThere = (/** @type {number} */ row) => start <= queries[row] && queries[row] < stop;
  return { rows: rows.filter(isThere), width: keys.filter(([key]) => key < end).length, first: start };
}

/**
 * @param {Shard} shard
 * @param {{index: number, heads: number}} layer
 * @param {{rows: number[], width: number, first: number}} step
 * @param {MatrixJob} job
 * @param {MatrixSums} sums
 */
async function addLayer(shard, layer, step, job, sums) {
  const { rows, width } = step;
  if (!rows.length) return;
  const tensors = await shard.header();
  const size = (job.only?.of ?? rows.length) * width;
  const part = (/** @type {string} */ name, /** @type {number} */ from) =>
    job.only
      ? job.only.rows.map((row) => ({ name, from: from + row * width, to: from + (row + 1) * width }))
      : [{ name, from, to: from + size }];
  const whole = `${layer.index}/map.${job.block}`;
  const single = `${layer.index}/headmap.${job.block}`;
  const heads = job.heads ?? Array.from({ length: layer.heads }, (_, head) => head);
  if (!job.heads && tensors[whole]) sums.add(joined(await shard.read(part(whole, job.cell * size))), rows, width);
  else if (tensors[single]) {
    const parts = heads.map((head) => part(single, (job.cell * layer.heads + head) * size));
    const pieces = await shard.read(parts.flat());
    sums.add(meanOfHeads(parts.map((own) => joined(pieces.splice(0, own.length)))), rows, width);
  } else if (tensors[`${layer.index}/query`]) {
    sums.add(await exactMatrix(shard, layer, heads, step, job), rows, width);
  }
}

/** Pieces that follow each other, as one. @param {import("../data/safetensors.js").Piece[]} pieces */
function joined(pieces) {
  if (pieces.length === 1) return numbersOf(pieces[0]);
  const arrays = pieces.map(numbersOf);
  const all = arrays[0] instanceof Uint16Array ? Uint16Array : Float32Array;
  const result = new all(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    result.set(array, at);
    at += array.length;
  }
  return result;
}

/** @param {import("../data/safetensors.js").Piece} piece */
function numbersOf({ dtype, data }) {
  if (dtype === "F16") return new Uint16Array(data);
  if (dtype === "F32") return new Float32Array(data);
  throw new Error(`maps of ${dtype} are not known`);
}

/** @param {(Uint16Array | Float32Array)[]} maps @returns {Uint16Array | Float32Array} */
function meanOfHeads(maps) {
  if (maps.length === 1) return maps[0];
  const mean = new Float32Array(maps[0].length);
  for (const map of maps)
    for (let i = 0; i < mean.length; i++) mean[i] += (map instanceof Uint16Array ? HALF[map[i]] : map[i]) / maps.length;
  return mean;
}

/**
 * The matrix that factors stand for, mean over heads.
 * @param {Shard} shard
 * @param {{index: number, heads: number}} layer
 * @param {number[]} heads
 * @param {{rows: number[], width: number, first: number}} step
 * @param {MatrixJob} job
 */
async function exactMatrix(shard, layer, heads, { rows, width, first }, { queries, keys, cell }) {
  const matrix = new Float32Array(rows.length * width);
  for (const head of heads) {
    const factors = await readFactors(shard, layer, cell, head);
    rows.forEach((row, at) => {
      const exact = exactRow(factors, queries[row] - first);
      for (let column = 0; column < width; column++)
        for (const place of keys[column]) matrix[at * width + column] += exact[place] / heads.length;
    });
  }
  return matrix;
}
