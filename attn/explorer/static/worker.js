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
    // @ts-ignore: the types are those of a page
    self.postMessage(
      { id, sums: plain },
      sums.grids.map((grid) => grid.sum.buffer),
    );
  } catch (error) {
    self.postMessage({ id, error: String(/** @type {Error} */ (error).message) });
  }
};
