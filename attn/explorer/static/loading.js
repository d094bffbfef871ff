import { seldom } from "./frame.js";
import { Masses } from "./masses.js";
import { Trace } from "./trace.js";
import { useEffect, useMemo, useState } from "./vendor/preact.js";

/** @typedef {import("./sums.js").MapSums} MapSums */
/** @typedef {{key: string, sums: MapSums | null, note: string, error: string, ask: number}} Loaded */

const LARGE = 256e6; // bytes that are not read without being asked for
const SMALL = 24e6; // bytes that are read before anything is shown
const FEW = 5; // layers that are shown first, where all of them are not small
const FOLLOW = 500; // milliseconds between looks for further steps of a trace that is not finished

/**
 * The trace of an item, as it grows.
 * @template {Trace} T
 * @param {import("./screens.js").Item} item
 * @param {new (facts: any) => T} Kind  of trace
 * @returns {T}
 */
export function useTrace(item, Kind = /** @type {any} */ (Trace)) {
  const [facts, setFacts] = useState(item.facts);
  useEffect(() => {
    if (facts.manifest.status !== "partial" || !item.source.base) return;
    let timer = 0;
    let isOver = false;
    const look = async () => {
      const now = await item.source.json("trace.json").catch(() => facts); // the server, or the trace, may be gone
      if (isOver) return;
      if (amountOf(now) !== amountOf(facts)) setFacts(now);
      else timer = setTimeout(look, FOLLOW);
    };
    timer = setTimeout(look, FOLLOW);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [facts]);
  return useMemo(() => new Kind(facts), [facts]);
}

/** @param {any} facts */
const amountOf = ({ manifest }) => `${manifest.status} ${manifest.shards.length}`;

/**
 * The maps of a selection: where all of them take long to read, first a step in the middle, or a few layers.
 * @param {import("./trace.js").Trace} trace
 * @param {import("./work.js").Work} work
 * @param {import("./trace.js").Selection} selection
 * @param {string} key  the same for the same selection
 * @param {boolean} isAsked  whether large amounts are to be read
 * @returns {Loaded}
 */
export function useSums(trace, work, selection, key, isAsked) {
  const [loaded, setLoaded] = useState(/** @type {Loaded} */ ({ key: "", sums: null, note: "", error: "", ask: 0 }));
  useEffect(() => {
    if (!trace.hasMaps) return;
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
 * @param {import("./trace.js").Trace} trace
 * @param {import("./work.js").Work} work
 * @param {import("./trace.js").Selection} selection
 * @param {boolean} isAsked
 * @param {AbortSignal} signal
 * @param {(change: Partial<Loaded>) => void} show
 */
async function read(trace, work, selection, isAsked, signal, show) {
  const job = trace.job(selection, work.source.base);
  const bytes = job.shards.reduce((sum, shard) => sum + shard.bytes, 0);
  const several = job.shards.length > 1;
  if (!job.shards.length) return show({ sums: null, note: "No step is finished yet." });
  if (several && bytes > SMALL) {
    const shard = job.shards[job.shards.length >> 1];
    const step = trace.steps.find((one) => one.file === shard.file);
    const sums = await work.run({ ...job, shards: [shard] }, signal, () => {});
    const only = `Only step ${step?.index} is shown.`;
    if (bytes > LARGE && !isAsked) return show({ sums, note: only, ask: bytes });
    show({ sums, note: `${only} Reading all ${job.shards.length} steps …` });
  }
  const few = spread(job.layers, FEW);
  if (!several && few.length < job.layers.length && floatBytes(job) > SMALL) {
    const sums = await work.run({ ...job, layers: few }, signal, () => {});
    if (sums.count) show({ sums, note: `Only ${few.length} of ${job.layers.length} layers are shown. Reading all …` });
  }
  const tell = (/** @type {number} */ done, /** @type {number} */ all) => {
    if (several && bytes > SMALL) show({ note: `Reading: ${done} of ${all} steps` });
  };
  const sums = await work.run(job, signal, tell);
  show(sums.count ? { sums, note: "" } : { sums: null, note: absence(trace) });
}

/** Evenly spread items. @template T @param {T[]} items @param {number} most @returns {T[]} */
function spread(items, most) {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, at) => items[Math.floor(((at + 0.5) * items.length) / most)]);
}

/** What the maps of a job take at most. @param {import("./reader.js").Job} job */
const floatBytes = ({ layers, keys }) => layers.reduce((sum, { grid }) => sum + 4 * grid[0] * grid[1] * keys, 0);

/** Why there is no map. @param {import("./trace.js").Trace} trace */
function absence(trace) {
  const short = trace.leftOut.length ? ", or do not stand in this page: see above what it was reduced to" : "";
  return `None of the chosen layers ran in the chosen steps, or their maps were not kept${short}.`;
}

/**
 * The small measures of all steps, read in the background, once something is shown.
 * @param {import("./source.js").Source} source
 * @param {import("./trace.js").Trace} trace
 * @param {import("./trace.js").Selection} selection
 * @param {new (source: any, trace: any, selection: any) => any} Kind  of measures
 * @param {boolean} isHeld  whether something more urgent is read
 * @returns {{masses: any, loaded: number, error: string}}
 */
export function useMasses(source, trace, selection, Kind = Masses, isHeld = false) {
  const key = `${selection.branch}/${selection.sample}/${selection.net.name}`;
  const [held, setHeld] = useState(() => ({ key, masses: new Kind(source, trace, selection), loaded: 0, error: "" }));
  useEffect(() => {
    if (isHeld) return;
    const stop = new AbortController();
    const masses = held.key === key ? held.masses : new Kind(source, trace, selection);
    masses.trace = trace; // it may have further steps now
    const show = (error = "") => !stop.signal.aborted && setHeld({ key, masses, loaded: masses.steps.size, error });
    masses.load(stop.signal, seldom(show)).then(
      () => show(),
      (/** @type {Error} */ error) => show(error.message),
    );
    if (held.key !== key) show();
    return () => stop.abort();
  }, [trace, key, isHeld]);
  return held;
}
