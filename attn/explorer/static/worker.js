import { readSums, sourceOf } from "./reader.js";

/** @type {Set<number>} */
const cancelled = new Set();

self.onmessage = async ({ data }) => {
  if (data.cancel !== undefined) {
    cancelled.add(data.cancel);
    return;
  }
  const { id, job } = data;
  try {
    const sums = await readSums(sourceOf(job), job, (done, all) => {
      self.postMessage({ id, done, all });
      return !cancelled.has(id);
    });
    const plain = { keys: sums.keys, count: sums.count, grids: sums.grids };
    const moved = sums.grids.map((grid) => /** @type {ArrayBuffer} */ (grid.sum.buffer));
    self.postMessage({ id, sums: plain }, { transfer: moved });
  } catch (error) {
    self.postMessage({ id, error: String(/** @type {Error} */ (error).message) });
  }
};
