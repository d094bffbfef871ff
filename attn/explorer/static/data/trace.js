/**
 * One trace: what Python says of it, and jobs that read it.
 *
 * @typedef {object} Group  keys that are looked at together: a word, another token, the rest
 * @property {string} id
 * @property {"word" | "token" | "special" | "padding" | "rest" | "segment"} kind
 * @property {string} segment
 * @property {string} text
 * @property {number} [word]
 * @property {number[]} columns  of maps
 * @property {number[]} keys     of masses
 *
 * @typedef {object} Layer
 * @property {number} index
 * @property {string} tower
 * @property {string} path
 * @property {number} heads
 * @property {[number, number]} grid
 * @property {number} frames   of a video, in its latents; 0 of a picture
 * @property {number} keyset
 * @property {number} num_keys
 * @property {string[]} gates
 * @property {number} [like]  of the mean of several: the index of one of them
 *
 * @typedef {{name: string, layers: Layer[], keyset: number}} Net  layers whose maps have a common mean
 * @typedef {{index: number, file: string, bytes: number, noise: number | null}} StepShard
 *
 * @typedef {object} Selection
 * @property {string} branch
 * @property {number} sample
 * @property {Net} net
 * @property {number[] | null} steps   indices; null is all
 * @property {number[] | null} layers  indices; null is all
 * @property {number[] | null} heads   null is all
 * @property {number | null} frame     of a video; null is the mean over all
 */

export class Trace {
  /** @param {any} facts */
  constructor(facts) {
    this.facts = facts;
    this.manifest = facts.manifest;
    const shards = this.manifest.shards.map((/** @type {any} */ one) => ({
      ...one.step,
      file: one.file,
      bytes: one.bytes,
    }));
    /** @type {StepShard[]} */
    this.steps = shards.filter((/** @type {any} */ one) => one.index !== undefined);
    /** @type {{file: string, bytes: number} | undefined} */
    this.mean = shards.find((/** @type {any} */ one) => one.index === undefined);
    /** @type {Net[]} */
    this.nets = netsOf(facts.layers);
  }

  /** Whether maps were kept step by step. */
  get hasStepMaps() {
    return !["mass", "means"].includes(this.manifest.kept.level);
  }

  /** How many steps were captured: a page of one file may have fewer of them. @returns {number} */
  get count() {
    return this.facts.captured_steps ?? this.steps.length;
  }

  /** Of how many steps the mean is. @returns {number} */
  get meanCount() {
    return this.mean ? this.count : this.steps.length;
  }

  /** How many frames there are of a video, in its latents; 0 of a picture. @returns {number} */
  get frames() {
    return this.facts.video?.spans.length ?? 0;
  }

  /** Steps that can be looked at by themselves: those of maps, or of masses where there is nothing else. @returns {StepShard[]} */
  get singleSteps() {
    return this.hasStepMaps || !this.hasMaps ? this.steps : [];
  }

  /** Whether there are maps at all. */
  get hasMaps() {
    return this.manifest.kept.level !== "mass" && (this.steps.length > 0 || this.mean !== undefined);
  }

  /** What does not stand in a page of one file, in sentences. @returns {string[]} */
  get leftOut() {
    return this.facts.left_out ?? [];
  }

  /** Whether maps of single heads were kept, or can be computed. */
  get hasHeads() {
    return ["heads", "factors"].includes(this.manifest.kept.level);
  }

  /** @param {string} name */
  branch(name) {
    return this.facts.branches.find((/** @type {any} */ one) => one.name === name) ?? this.facts.branches[0];
  }

  /** @param {number} keyset @param {string} branch @returns {Group[]} */
  groups(keyset, branch) {
    const groups = this.facts.keysets[keyset].groups[branch];
    return groups.map((/** @type {any} */ one) => ({ ...one, id: groupId(one) }));
  }

  /** @param {Selection} selection @returns {number} place of branch and sample in every tensor */
  cell({ branch, sample }) {
    return this.manifest.branches.indexOf(branch) * this.manifest.samples + sample;
  }

  /** @param {Selection} selection @param {string} base @returns {import("../sums/reader.js").Job} */
  job(selection, base) {
    const { net, steps, layers, heads, frame } = selection;
    const keyset = this.facts.keysets[net.keyset];
    return {
      base,
      shards: this.shardsOf(steps, heads).map(({ file, bytes }) => ({ file, bytes })),
      layers: this.layersOf(net, layers, heads, "image.text").map((layer) => this.#jobLayer(layer, keyset)),
      keys: keyset.columns.length,
      cell: this.cell(selection),
      heads,
      frame,
    };
  }

  /**
   * The layers whose maps are read for a selection: of a page in one file, all of them are one, their mean.
   * @template {{index: any}} T
   * @param {{layers: T[]}} net
   * @param {number[] | null} layers
   * @param {number[] | null} heads
   * @param {string} block
   * @returns {T[]}
   */
  layersOf(net, layers, heads, block) {
    if (layers || heads) return net.layers.filter((layer) => !layers || layers.includes(layer.index));
    const mean = (this.facts.means ?? []).find(
      (/** @type {any} */ one) => one.block === block && net.layers.every(({ index }) => one.layers.includes(index)),
    );
    return mean ? [{ ...net.layers[0], index: mean.index, grid: mean.grid, like: net.layers[0].index }] : net.layers;
  }

  /** A layer as the manifest has it; of a mean, the first of its layers. @param {Layer} layer @returns {any} */
  #described({ index, like }) {
    return this.manifest.layers.find((/** @type {any} */ one) => one.index === (like ?? index));
  }

  /** The parts of a layer's own key sequence, text keys only. @param {Layer} layer */
  textPositions(layer) {
    const { keys } = this.#described(layer);
    /** @type {number[]} */
    const positions = [];
    for (const { kind, start, stop } of keys)
      if (kind === "text") for (let at = start; at < stop; at++) positions.push(at);
    return positions;
  }

  /** Which shards hold the maps of a selection. @param {number[] | null} steps @param {number[] | null} heads @returns {any[]} */
  shardsOf(steps, heads) {
    if (!this.hasStepMaps || (!steps && !heads && this.mean)) return this.mean ? [this.mean] : [];
    return this.steps.filter((step) => !steps || steps.includes(step.index));
  }

  /** @param {Layer} layer @param {any} keyset @returns {import("../sums/reader.js").JobLayer} */
  #jobLayer(layer, keyset) {
    const { queries } = this.#described(layer);
    const text = this.textPositions(layer);
    return {
      index: layer.index,
      grid: layer.grid,
      frames: Math.max(1, layer.frames),
      heads: layer.heads,
      firstQuery: queries.find((/** @type {any} */ one) => one.kind === "image").start,
      positions: keyset.columns.map((/** @type {number[]} */ keys) => keys.map((key) => text[key])),
    };
  }
}

/** @param {Layer[]} layers @returns {Net[]} */
function netsOf(layers) {
  /** @type {Map<string, Net>} */
  const nets = new Map();
  for (const layer of layers) {
    const id = `${layer.tower}/${layer.keyset}`;
    const isTaken = [...nets.values()].some((net) => net.name === layer.tower && net.keyset !== layer.keyset);
    const name = isTaken ? `${layer.tower} (${layer.keyset + 1})` : layer.tower;
    const net = nets.get(id) ?? { name, layers: [], keyset: layer.keyset };
    net.layers.push(layer);
    nets.set(id, net);
  }
  return [...nets.values()];
}

/** @param {any} group */
function groupId({ kind, segment, word, keys }) {
  return kind === "word" ? `${segment}.w${word}` : `${segment}.${kind}${keys[0] ?? ""}`;
}

/**
 * Numbers as they stand in the address: `3`, `0-4`, `1,5`; nothing is null, all of them.
 * @param {import("../state.js").State} state
 * @param {string} name
 * @param {number[]} existing
 * @param {string} reader
 */
function readNumbers(state, name, existing, reader) {
  const chosen = state.read(
    name,
    (text, refuse) => {
      const spans = text.split(",").map((span) => {
        const [first, last = first] = span.split("-").map(Number);
        const inside = existing.filter((one) => first <= one && one <= last);
        if (!inside.length) refuse(span);
        return inside;
      });
      return existing.filter((one) => spans.some((inside) => inside.includes(one)));
    },
    reader,
  );
  return chosen?.length && chosen.length < existing.length ? chosen : null;
}

/**
 * What of a trace the address chooses.
 * @param {Trace} trace
 * @param {import("../state.js").State} state
 * @param {string} [reader]  of several traces with one address
 * @returns {Selection}
 */
export function readSelection(trace, state, reader = "") {
  const { branches, samples } = trace.manifest;
  const among = (/** @type {any[]} */ all) => (/** @type {string} */ text) =>
    all.find((one) => String(one) === text) ?? null;
  const net =
    state.read("tower", (text) => trace.nets.find((one) => one.name === text) ?? null, reader) ?? trace.nets[0];
  const numbers = (/** @type {string} */ name, /** @type {number[]} */ existing) =>
    readNumbers(state, name, existing, reader);
  const layers = numbers(
    "layers",
    net.layers.map((layer) => layer.index),
  ); // prettier-ignore
  const heads = Math.min(...net.layers.filter((one) => !layers || layers.includes(one.index)).map((one) => one.heads));
  return {
    branch: state.read("branch", among(branches), reader) ?? branches[0],
    sample: state.read("sample", among([...Array(samples).keys()]), reader) ?? 0,
    net,
    steps: numbers(
      "steps",
      trace.singleSteps.map((step) => step.index),
    ),
    layers,
    heads: numbers("heads", trace.hasHeads ? [...Array(heads).keys()] : []),
    frame: state.read("frame", among([...Array(trace.frames).keys()]), reader),
  };
}
