import { KINDS } from "./jobs.js";
import { sourceOf } from "./reader.js";

/** @type {Set<number>} */
const cancelled = new Set();

const CALM = 150; // milliseconds after a move of the pointer in which nothing new is read
const LONGEST = 600; // milliseconds that the pointer holds up what is read
let moved = Number.NEGATIVE_INFINITY; // when the pointer moved last

/** Comes when the pointer rests: words of a place come before what is read behind them. @returns {Promise<void>} */
async function calm() {
  const until = performance.now() + LONGEST;
  while (performance.now() < Math.min(until, moved + CALM)) await new Promise((go) => setTimeout(go, CALM / 3));
}

self.onmessage = async ({ data }) => {
  if (data.pointer) moved = performance.now();
  if (data.cancel !== undefined) cancelled.add(data.cancel);
  if (!data.job) return;
  const { id, job } = data;
  try {
    const sums = await KINDS[job.kind ?? "maps"].read(sourceOf(job), job, async (done, all) => {
      self.postMessage({ id, done, all });
      await calm();
      return !cancelled.has(id);
    });
    self.postMessage({ id, sums: { ...sums } }, { transfer: sums.buffers });
  } catch (error) {
    self.postMessage({ id, error: String(/** @type {Error} */ (error).message) });
  }
};
