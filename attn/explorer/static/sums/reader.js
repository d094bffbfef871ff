import { HALF } from "../data/half.js";
import { Shard } from "../data/safetensors.js";
import { HttpSource } from "../data/source.js";
import { exactRow, factorParts, toFactors } from "./factors.js";
import { MapSums } from "./sums.js";

/**
 * What is to be added up, as plain data that a worker can be sent.
 *
 * @typedef {object} Job
 * @property {string} base      address of the trace
 * @property {{file: string, bytes: number}[]} shards
 * @property {JobLayer[]} layers
 * @property {number} keys      columns of each map
 * @property {number} cell      place of branch and sample: branch · samples + sample
 * @property {number[] | null} heads  null is all of them
 * @property {number | null} frame    of a video; null is the mean over all
 *
 * @typedef {object} JobLayer
 * @property {number} index
 * @property {[number, number]} grid
 * @property {number} frames      1 of a picture
 * @property {number} heads
 * @property {number} firstQuery  of the picture, among the layer's queries
 * @property {number[][]} positions  of each column the layer's keys, for factors
 */

/** @typedef {(done: number, all: number, sums: MapSums) => boolean} Told  false ends the job */

/**
 * @param {import("../data/source.js").Source} source
 * @param {Job} job
 * @param {Told} tell
 * @param {() => Promise<void>} [rest]  what is waited for between two layers
 */
export async function readSums(source, job, tell, rest = async () => {}) {
  const sums = new MapSums(job.keys);
  for (const [at, { file, bytes }] of job.shards.entries()) {
    await addShard(new Shard(source, file, bytes), job, sums, rest);
    if (!tell(at + 1, job.shards.length, sums)) break;
  }
  return sums;
}

/** @type {Map<string, HttpSource>} */
const sources = new Map();

/** The source of a job's trace: one for all its jobs, so that it notices what is written again. @param {Job} job */
export function sourceOf({ base }) {
  const source = sources.get(base) ?? new HttpSource(base);
  sources.set(base, source);
  return source;
}

/** @param {Shard} shard @param {Job} job @param {MapSums} sums @param {() => Promise<void>} rest */
async function addShard(shard, job, sums, rest) {
  const tensors = await shard.header();
  const parts = job.layers.map((layer) => mapParts(tensors, layer, job));
  const pieces = await shard.read(parts.flat());
  for (const [place, layer] of job.layers.entries()) {
    await rest();
    const own = pieces.splice(0, parts[place].length);
    if (own.length)
      sums.add(layer.grid, overFrames(own.length > 1 ? meanOf(own.map(typed)) : typed(own[0]), layer, job));
    else if (job.heads && tensors[`${layer.index}/query`]) sums.add(layer.grid, await exactMaps(shard, layer, job));
  }
}

/**
 * @param {Record<string, import("../data/safetensors.js").Described>} tensors
 * @param {JobLayer} layer
 * @param {Job} job
 * @returns {import("../data/safetensors.js").Part[]}
 */
function mapParts(tensors, layer, job) {
  const size = layer.grid[0] * layer.grid[1] * job.keys;
  const [first, count] = job.frame === null ? [0, layer.frames] : [job.frame, 1];
  const span = (/** @type {number} */ place) => {
    const from = (place * layer.frames + first) * size;
    return { from, to: from + count * size };
  };
  const whole = `${layer.index}/map.image.text`;
  if (!job.heads && tensors[whole]) return [{ name: whole, ...span(job.cell) }];
  const single = `${layer.index}/headmap.image.text`;
  if (!tensors[single]) return [];
  const heads = job.heads ?? Array.from({ length: layer.heads }, (_, head) => head);
  return heads.map((head) => ({ name: single, ...span(job.cell * layer.heads + head) }));
}

/** Maps (frame, query, key) of a video as their mean; of a picture, or a single frame, as they are. @param {Float32Array | Uint16Array} maps @param {JobLayer} layer @param {Job} job */
function overFrames(maps, { frames }, { frame }) {
  if (frames === 1 || frame !== null) return maps;
  const mean = new Float32Array(maps.length / frames);
  const isHalf = maps instanceof Uint16Array;
  for (let i = 0; i < maps.length; i++) mean[i % mean.length] += (isHalf ? HALF[maps[i]] : maps[i]) / frames;
  return mean;
}

/** @param {import("../data/safetensors.js").Piece} piece */
function typed({ dtype, data }) {
  if (dtype === "F16") return new Uint16Array(data);
  if (dtype === "F32") return new Float32Array(data);
  throw new Error(`maps of ${dtype} are not known`);
}

/** @param {(Uint16Array | Float32Array)[]} maps of single heads */
function meanOf(maps) {
  const sums = new MapSums(1);
  for (const one of maps) sums.add([1, one.length], one);
  return Float32Array.from(
    sums.grids[0]?.sum ?? new Float64Array(maps[0].length).fill(NaN),
    (sum) => sum / maps.length,
  );
}

/** @param {Shard} shard @param {JobLayer} layer @param {Job} job */
async function exactMaps(shard, layer, job) {
  const heads = /** @type {number[]} */ (job.heads);
  const cells = layer.grid[0] * layer.grid[1];
  const maps = new Float32Array(cells * job.keys);
  const [first, count] = job.frame === null ? [0, layer.frames] : [job.frame, 1];
  for (const head of heads) {
    const factors = await readFactors(shard, layer, job.cell, head);
    for (let query = 0; query < count * cells; query++) {
      const row = exactRow(factors, layer.firstQuery + first * cells + query);
      const cell = query % cells;
      layer.positions.forEach((own, column) => {
        for (const position of own) maps[cell * job.keys + column] += row[position] / heads.length / count;
      });
    }
  }
  return maps;
}

/** @param {Shard} shard @param {{index: number, heads: number}} layer @param {number} cell @param {number} head */
export async function readFactors(shard, layer, cell, head) {
  const tensors = await shard.header();
  const pieces = await shard.read(factorParts(tensors, layer.index, cell, head, layer.heads));
  return toFactors(pieces, tensors[`${layer.index}/mask`]);
}
