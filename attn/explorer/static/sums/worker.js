import { KINDS } from "./jobs.js";
import { sourceOf } from "./reader.js";

/** @type {Set<number>} */
const cancelled = new Set();

self.onmessage = async ({ data }) => {
  if (data.cancel !== undefined) {
    cancelled.add(data.cancel);
    return;
  }
  const { id, job } = data;
  try {
    const sums = await KINDS[job.kind ?? "maps"].read(sourceOf(job), job, (done, all) => {
      self.postMessage({ id, done, all });
      return !cancelled.has(id);
    });
    self.postMessage({ id, sums: { ...sums } }, { transfer: sums.buffers });
  } catch (error) {
    self.postMessage({ id, error: String(/** @type {Error} */ (error).message) });
  }
};
