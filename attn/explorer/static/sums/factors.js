import { toFloats } from "../data/half.js";

/**
 * Exact attention from what the kernel read: probs = exp(scale · query · keyᵀ + mask − lse), as
 * Python's `trace.views.recompute`.
 *
 * @typedef {object} Factors  of one head of one layer and step
 * @property {Float32Array} query  (queries, channels)
 * @property {Float32Array} key    (keys, channels)
 * @property {Float32Array} lse    (queries)
 * @property {number} scale
 * @property {{values: Float32Array, queries: number, keys: number} | null} mask  axes of size 1 repeat
 */

const UNIFORM_BELOW = -1e38; // every key was masked with the dtype's lowest number: an even row

/**
 * Which parts of a shard hold one head's factors.
 * @param {Record<string, import("../data/safetensors.js").Described>} tensors
 * @param {number} layer
 * @param {number} cell place of branch and sample
 * @param {number} head
 * @param {number} heads
 */
export function factorParts(tensors, layer, cell, head, heads) {
  const part = (/** @type {string} */ name, /** @type {number} */ own) => {
    const shape = tensors[`${layer}/${name}`].shape;
    const size = shape.slice(3).reduce((a, b) => a * b, 1);
    const from = (cell * shape[2] + own) * size;
    return { name: `${layer}/${name}`, from, to: from + size };
  };
  const keyHeads = tensors[`${layer}/key`].shape[2];
  const parts = [part("query", head), part("key", Math.floor((head * keyHeads) / heads)), part("lse", head)];
  parts.push({ name: `${layer}/scale`, from: cell, to: cell + 1 });
  if (tensors[`${layer}/mask`]) parts.push(part("mask", tensors[`${layer}/mask`].shape[2] === 1 ? 0 : head));
  return parts;
}

/**
 * @param {import("../data/safetensors.js").Piece[]} pieces in the order of `factorParts`
 * @param {import("../data/safetensors.js").Described | undefined} mask
 * @returns {Factors}
 */
export function toFactors(pieces, mask) {
  const [query, key, lse, scale, hidden] = pieces.map((piece) => toFloats(piece.data, piece.dtype));
  const [queries, keys] = mask ? mask.shape.slice(-2) : [0, 0];
  return { query, key, lse, scale: scale[0], mask: mask ? { values: hidden, queries, keys } : null };
}

/**
 * One row of the attention of a head.
 * @param {Factors} factors
 * @param {number} query
 * @returns {Float32Array} (keys), sum 1
 */
export function exactRow({ query: queries, key, lse, scale, mask }, query) {
  const channels = queries.length / lse.length;
  const keys = key.length / channels;
  const row = new Float32Array(keys);
  const norm = lse[query] === -Infinity ? 0 : lse[query];
  let shown = keys;
  for (let at = 0; at < keys; at++) {
    let logit = 0;
    for (let channel = 0; channel < channels; channel++)
      logit += queries[query * channels + channel] * key[at * channels + channel];
    logit *= scale;
    if (mask) {
      const added = mask.values[(mask.queries === 1 ? 0 : query) * mask.keys + (mask.keys === 1 ? 0 : at)];
      if (added === -Infinity) shown--;
      logit += added;
    }
    row[at] = Math.exp(logit - norm);
  }
  if (norm < UNIFORM_BELOW) for (let at = 0; at < keys; at++) row[at] /= shown;
  return row;
}
