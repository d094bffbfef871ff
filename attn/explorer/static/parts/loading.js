import { Masses } from "../data/masses.js";
import { Trace } from "../data/trace.js";
import { lookAgain, seldom } from "../frame.js";
import { useEffect, useLayoutEffect, useMemo, useState } from "../vendor/preact.js";

/**
 * What is read of a selection, as it comes.
 * @template [S=import("../sums/sums.js").MapSums]
 * @typedef {{key: string, sums: S | null, note: string, error: string, ask: number}} Loaded
 */

/**
 * What is to be read: where all of it takes long, first a part.
 * @typedef {object} Plan
 * @property {any} job       see `jobs.js`
 * @property {number} bytes  about how many it reads
 * @property {any} first     the same job of a part; null where all of it is read at once
 * @property {string} only   what the part is, in words
 * @property {string} absence  why there is nothing, if so
 */

const LARGE = 256e6; // bytes that are not read without being asked for
export const SMALL = 24e6; // bytes that are read before anything is shown
const FEW = 5; // layers that are shown first, where all of them are not small
const FOLLOW = 300; // milliseconds between looks for further steps of a trace that is not finished

/**
 * The trace of an item, as it grows.
 * @template {Trace} T
 * @param {import("../screens.js").Item} item
 * @param {new (facts: any) => T} Kind  of trace
 * @returns {[T, string]} and why it is not followed any more
 */
export function useTrace(item, Kind = /** @type {any} */ (Trace)) {
  const [facts, setFacts] = useState(item.facts);
  const [lost, setLost] = useState("");
  useEffect(() => {
    if (facts.manifest.status !== "partial" || !item.source.base) return;
    let end = () => {};
    let isOver = false;
    const look = async () => {
      let error = "";
      const now = await item.source.json("trace.json").catch((/** @type {Error} */ reason) => {
        error = reason.message;
        return facts;
      });
      if (isOver) return;
      setLost(error);
      if (amountOf(now) !== amountOf(facts)) setFacts(now);
      else end = lookAgain(look, FOLLOW, error !== "");
    };
    end = lookAgain(look, FOLLOW, false);
    return () => {
      isOver = true;
      end();
    };
  }, [facts]);
  return [useMemo(() => new Kind(facts), [facts]), lost];
}

/** @param {any} facts */
const amountOf = ({ manifest }) => `${manifest.status} ${manifest.shards.length}`;

/**
 * What a plan reads, for as long as it is wanted.
 * @template S
 * @param {import("../sums/work.js").Work} work
 * @param {() => Plan | null} plan  null reads nothing
 * @param {string} key  the same for the same selection; what was read of another is shown until then, which the note says
 * @param {boolean} isAsked  whether large amounts are to be read
 * @param {any} trace  is read again when it has grown
 * @returns {Loaded<S>}
 */
export function useLoaded(work, plan, key, isAsked, trace) {
  const [loaded, setLoaded] = useState(
    /** @type {Loaded<S> & {trace: any}} */ ({ key: "", trace, sums: null, note: "", error: "", ask: 0 }),
  );
  useLayoutEffect(() => {
    const planned = plan();
    const stop = new AbortController();
    const show = (/** @type {Partial<Loaded<S>>} */ change) => {
      if (!stop.signal.aborted) setLoaded((before) => ({ ...before, ask: 0, error: "", ...change, key, trace }));
    };
    if (!planned) return show({ sums: null, note: "" });
    read(work, planned, isAsked, stop.signal, show).catch((error) =>
      show({ sums: null, note: "", error: error.message }),
    );
    return () => stop.abort();
  }, [trace, key, isAsked]); // before anything is drawn: reading takes longest
  const isOfThis = loaded.key === key && loaded.trace === trace;
  return useMemo(() => (isOfThis ? loaded : { ...loaded, note: "Reading …" }), [loaded, isOfThis]);
}

/**
 * @param {import("../sums/work.js").Work} work
 * @param {Plan} plan
 * @param {boolean} isAsked
 * @param {AbortSignal} signal
 * @param {(change: Partial<Loaded<any>>) => void} show
 */
async function read(work, { job, bytes, first, only, absence }, isAsked, signal, show) {
  if (!job.shards.length) return show({ sums: null, note: "No step is finished yet." });
  if (first) {
    const sums = await work.run(first, signal, () => {});
    if (bytes > LARGE && !isAsked) return show({ ...(sums.count ? { sums, note: only } : { note: "" }), ask: bytes });
    if (sums.count) show({ sums, note: `${only} Reading all …` });
  }
  const progress = { note: "" };
  const tell = seldom(() => first && show(progress));
  const sums = await work.run(job, signal, (done, all) => {
    progress.note = `Reading: ${done} of ${all} steps`;
    if (done < all) tell();
  });
  show(sums.count ? { sums, note: "" } : { sums: null, note: absence });
}

/**
 * The maps of a selection.
 * @param {import("../data/trace.js").Trace} trace
 * @param {import("../sums/work.js").Work} work
 * @param {import("../data/trace.js").Selection} selection
 * @param {string} key  the same for the same selection
 * @param {boolean} isAsked  whether large amounts are to be read
 * @returns {Loaded}
 */
export function useSums(trace, work, selection, key, isAsked) {
  const plan = () => (trace.hasMaps ? planMaps(trace, trace.job(selection, work.source.base)) : null);
  return useLoaded(work, plan, key, isAsked, trace);
}

/** First a step in the middle, or a few layers of a mean. @param {import("../data/trace.js").Trace} trace @param {import("../sums/reader.js").Job} job @returns {Plan} */
function planMaps(trace, job) {
  const { shards, layers } = job;
  const absence = absenceOf(trace);
  if (shards.length > 1) {
    const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
    const shard = shards[shards.length >> 1];
    const step = trace.steps.find((one) => one.file === shard.file);
    const first = bytes > SMALL ? { ...job, shards: [shard] } : null;
    return { job, bytes, first, only: `Only step ${step?.index} is shown.`, absence };
  }
  const bytes = floatBytes(job);
  const few = spread(layers, FEW);
  const first = bytes > SMALL && few.length < layers.length ? { ...job, layers: few } : null;
  return { job, bytes, first, only: `Only ${few.length} of ${layers.length} layers are shown.`, absence };
}

/** Evenly spread items. @template T @param {T[]} items @param {number} most @returns {T[]} */
function spread(items, most) {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, at) => items[Math.floor(((at + 0.5) * items.length) / most)]);
}

/** What the maps of a job take at most. @param {import("../sums/reader.js").Job} job */
const floatBytes = ({ layers, keys }) => layers.reduce((sum, { grid }) => sum + 4 * grid[0] * grid[1] * keys, 0);

/** Why there is no map. @param {import("../data/trace.js").Trace} trace */
function absenceOf(trace) {
  const short = trace.leftOut.length ? ", or do not stand in this page: see above what it was reduced to" : "";
  return `None of the chosen layers ran in the chosen steps, or their maps were not kept${short}.`;
}

/**
 * The small measures of all steps, read in the background, once something is shown.
 * @param {import("../data/source.js").Source} source
 * @param {import("../data/trace.js").Trace} trace
 * @param {import("../data/trace.js").Selection} selection
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
    masses.trace = trace; // it may have further steps now,
    masses.net = selection.net; // of which it says what each read
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
