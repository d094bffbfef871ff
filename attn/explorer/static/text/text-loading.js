import { Written } from "../data/texts.js";
import { SMALL, useLoaded } from "../parts/loading.js";
import { useEffect, useMemo, useRef, useState } from "../vendor/preact.js";

/**
 * The matrix of a selection.
 * @param {import("../data/texts.js").TextTrace} trace
 * @param {import("../sums/work.js").Work} work
 * @param {any} selection
 * @param {string} key  the same for the same selection
 * @param {boolean} isAsked  whether large amounts are to be read
 * @returns {import("../parts/loading.js").Loaded<import("../sums/matrix.js").MatrixSums>}
 */
export function useMatrix(trace, work, selection, key, isAsked) {
  const isThere = trace.hasMaps && selection.net;
  const plan = () => (isThere ? planMatrix(trace, trace.matrixJob(selection, work.source.base)) : null);
  return useLoaded(work, plan, key, isAsked, trace);
}

/** First one layer and step. @param {import("../data/texts.js").TextTrace} trace @param {import("../sums/matrix.js").MatrixJob} job @returns {import("../parts/loading.js").Plan} */
function planMatrix(trace, job) {
  const bytes = bytesOf(job);
  const first = firstOf(job);
  const step = first.shards.length === 1 && trace.steps.find((one) => one.file === first.shards[0].file);
  return {
    job,
    bytes,
    first: bytes > SMALL && bytesOf(first) < bytes ? first : null,
    only: `Only layer ${first.layers[0]?.index}${step ? ` of step ${step.index}` : ""} is shown.`,
    absence: "None of the chosen layers ran in the chosen steps, or their maps were not kept.",
  };
}

/** One layer, in the middle; of one step, unless each has only some rows. @param {import("../sums/matrix.js").MatrixJob} job */
function firstOf(job) {
  const { layers, shards } = job;
  const isGrowing = shards.some((shard) => shard.window);
  return {
    ...job,
    layers: layers.slice(layers.length >> 1, (layers.length >> 1) + 1),
    shards: isGrowing ? shards : shards.slice(shards.length >> 1, (shards.length >> 1) + 1),
  };
}

/** About how much a job reads. @param {import("../sums/matrix.js").MatrixJob} job */
function bytesOf({ shards, layers, queries, keys, heads }) {
  const cells = shards.reduce((sum, { window }) => {
    const [start, stop, , end] = window ?? [0, queries.length, 0, keys.length];
    return sum + (stop - start) * Math.min(end, keys.length);
  }, 0);
  return 2 * cells * layers.length * (heads?.length ?? 1);
}

/**
 * What was written, step by step, read in the background.
 * @param {import("../data/source.js").Source} source
 * @param {import("../data/texts.js").TextTrace} trace
 * @returns {{written: Written, loaded: number, error: string}}
 */
export function useWritten(source, trace) {
  const before = useRef(/** @type {Written | null} */ (null));
  const written = useMemo(() => new Written(trace, source, before.current), [trace]);
  const [read, setRead] = useState({ loaded: 0, error: "" });
  useEffect(() => {
    const stop = new AbortController();
    before.current = written;
    const show = (error = "") => !stop.signal.aborted && setRead({ loaded: written.steps.size + 1, error });
    written.load(stop.signal, () => show()).catch((error) => show(error.message));
    return () => stop.abort();
  }, [written]);
  return { written, ...read };
}
