import { seldom } from "./frame.js";
import { Written } from "./texts.js";
import { useEffect, useState } from "./vendor/preact.js";

/** @typedef {{key: string, sums: import("./matrix.js").MatrixSums | null, note: string, error: string, ask: number}} Loaded */

const SMALL = 24e6; // bytes that are read before anything is shown
const LARGE = 256e6; // bytes that are not read without being asked for

/**
 * The matrix of a selection: one layer and step of it first, where all of it takes long to read.
 * @param {import("./texts.js").TextTrace} trace
 * @param {import("./work.js").Work} work
 * @param {any} selection
 * @param {string} key  the same for the same selection
 * @param {boolean} isAsked  whether large amounts are to be read
 * @returns {Loaded}
 */
export function useMatrix(trace, work, selection, key, isAsked) {
  const [loaded, setLoaded] = useState(/** @type {Loaded} */ ({ key: "", sums: null, note: "", error: "", ask: 0 }));
  useEffect(() => {
    if (!trace.hasMaps || !selection.net) return;
    const stop = new AbortController();
    const show = (/** @type {Partial<Loaded>} */ change) => {
      if (!stop.signal.aborted) setLoaded((before) => ({ ...before, ask: 0, error: "", ...change, key }));
    };
    read(trace, work, selection, isAsked, stop.signal, show).catch((error) =>
      show({ sums: null, note: "", error: error.message }),
    );
    return () => stop.abort();
  }, [trace, key, isAsked]);
  return loaded;
}

/**
 * @param {import("./texts.js").TextTrace} trace
 * @param {import("./work.js").Work} work
 * @param {any} selection
 * @param {boolean} isAsked
 * @param {AbortSignal} signal
 * @param {(change: Partial<Loaded>) => void} show
 */
async function read(trace, work, selection, isAsked, signal, show) {
  const job = trace.matrixJob(selection, work.source.base);
  const bytes = bytesOf(job);
  if (!job.shards.length) return show({ sums: null, note: "No step is finished yet." });
  const first = firstOf(job);
  if (bytes > SMALL && bytesOf(first) < bytes) {
    const sums = await work.run(first, signal, () => {});
    const step = trace.steps.find((one) => one.file === first.shards[0].file);
    const only = `Only layer ${first.layers[0].index}${first.shards.length === 1 && step ? ` of step ${step.index}` : ""} is shown.`;
    if (bytes > LARGE && !isAsked) return show({ sums, note: only, ask: bytes });
    show({ sums, note: `${only} Reading all of it …` });
  }
  const sums = await work.run(job, signal, (done, all) => {
    if (bytes > SMALL) show({ note: `Reading: ${done} of ${all} steps` });
  });
  show(
    sums.count
      ? { sums, note: "" }
      : { sums: null, note: "None of the chosen layers ran in the chosen steps, or their maps were not kept." },
  );
}

/** One layer, in the middle; of one step, unless each has only some rows. @param {import("./matrix.js").MatrixJob} job */
function firstOf(job) {
  const { layers, shards } = job;
  const isGrowing = shards.some((shard) => shard.window);
  return {
    ...job,
    layers: layers.slice(layers.length >> 1, (layers.length >> 1) + 1),
    shards: isGrowing ? shards : shards.slice(shards.length >> 1, (shards.length >> 1) + 1),
  };
}

/** About how much a job reads. @param {import("./matrix.js").MatrixJob} job */
function bytesOf({ shards, layers, queries, keys, heads }) {
  const cells = shards.reduce((sum, { window }) => {
    const [start, stop, , end] = window ?? [0, queries.length, 0, keys.length];
    return sum + (stop - start) * Math.min(end, keys.length);
  }, 0);
  return 2 * cells * layers.length * (heads?.length ?? 1);
}

/**
 * What was written, step by step, read in the background.
 * @param {import("./source.js").Source} source
 * @param {import("./texts.js").TextTrace} trace
 * @returns {{written: Written, loaded: number, error: string}}
 */
export function useWritten(source, trace) {
  const [held, setHeld] = useState(() => ({ trace, written: new Written(trace, source), loaded: 0, error: "" }));
  useEffect(() => {
    const stop = new AbortController();
    const written = held.trace === trace ? held.written : new Written(trace, source);
    if (held.trace !== trace) for (const [step, moment] of held.written.steps) written.steps.set(step, moment);
    const show = (error = "") =>
      !stop.signal.aborted && setHeld({ trace, written, loaded: written.steps.size + 1, error });
    written.load(stop.signal, seldom(show)).then(
      () => show(),
      (error) => show(error.message),
    );
    return () => stop.abort();
  }, [trace]);
  return held;
}
