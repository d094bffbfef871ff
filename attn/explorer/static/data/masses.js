import { idle } from "../frame.js";
import { toFloats } from "./half.js";
import { Shard } from "./safetensors.js";

/**
 * The small measures of every layer, head and step: mass of each group of keys, entropy, gates.
 *
 * @typedef {{mass: Float32Array, entropy: Float32Array | null, gates: Record<string, Float32Array>}} LayerMeasures
 *   `mass` (head, group), `entropy` (head), `gates` by part (head)
 */

const GATE_NUMBERS = 4; // mean, standard deviation, and two shares

export class Masses {
  /**
   * @param {import("./source.js").Source} source
   * @param {import("./trace.js").Trace} trace
   * @param {import("./trace.js").Selection} selection
   */
  constructor(source, trace, selection) {
    this.source = source;
    this.trace = trace;
    this.net = selection.net;
    this.groups = trace.groups(selection.net.keyset, selection.branch);
    this.cell = trace.cell(selection);
    this.keys = trace.facts.keysets[selection.net.keyset].keys;
    /** @type {Map<number, Map<number, LayerMeasures>>} by step, by layer */
    this.steps = new Map();
  }

  /** @param {AbortSignal} signal @param {() => void} tell after each step */
  async load(signal, tell) {
    for (const step of this.trace.steps) {
      if (this.steps.has(step.index)) continue;
      await idle();
      if (signal.aborted) return;
      this.steps.set(step.index, await this.#read(new Shard(this.source, step.file, step.bytes)));
      tell();
    }
  }

  /**
   * Mean over steps and heads; NaN where nothing ran.
   * @param {number} layer
   * @param {number | null} head
   * @param {(one: LayerMeasures, head: number) => number} value
   * @param {number[] | null} steps
   */
  mean(layer, head, value, steps) {
    const { heads } = /** @type {import("./trace.js").Layer} */ (this.net.layers.find((one) => one.index === layer));
    return meanOver(this.steps, layer, head === null ? [...Array(heads).keys()] : [head], value, steps);
  }

  /** @param {number} group place among `groups` @returns {(one: LayerMeasures, head: number) => number} */
  massOf(group) {
    return (one, head) => one.mass[head * this.groups.length + group];
  }

  /** @param {Shard} shard @returns {Promise<Map<number, LayerMeasures>>} */
  async #read(shard) {
    const tensors = await shard.header();
    /** @type {import("./safetensors.js").Part[]} */
    const parts = [];
    const want = (/** @type {string} */ name, /** @type {number} */ size) => {
      if (tensors[name]) parts.push({ name, from: this.cell * size, to: (this.cell + 1) * size });
    };
    for (const { index, heads, gates } of this.net.layers) {
      want(`${index}/mass.image.text`, heads * this.keys);
      want(`${index}/entropy.image.text`, heads);
      for (const part of gates) want(`${index}/gate.${part}`, heads * GATE_NUMBERS);
    }
    const pieces = await shard.read(parts);
    const values = new Map(parts.map((part, at) => [part.name, toFloats(pieces[at].data, pieces[at].dtype)]));
    return new Map(this.net.layers.map((layer) => [layer.index, this.#measures(layer, values)]));
  }

  /** @param {import("./trace.js").Layer} layer @param {Map<string, Float32Array>} values */
  #measures({ index, heads, gates }, values) {
    const all = values.get(`${index}/mass.image.text`);
    const mass = new Float32Array(heads * this.groups.length).fill(all ? 0 : NaN);
    for (let head = 0; all && head < heads; head++)
      this.groups.forEach(({ keys }, group) => {
        for (const key of keys) mass[head * this.groups.length + group] += all[head * this.keys + key];
      });
    const gate = (/** @type {string} */ part) =>
      (values.get(`${index}/gate.${part}`) ?? new Float32Array()).filter((_, at) => at % GATE_NUMBERS === 0);
    return {
      mass,
      entropy: values.get(`${index}/entropy.image.text`) ?? null,
      gates: Object.fromEntries(gates.map((part) => [part, gate(part)])),
    };
  }
}

/**
 * Mean over steps and heads of a measure; NaN where nothing ran.
 * @template T
 * @param {Map<number, Map<number, T>>} measures  by step, by layer
 * @param {number} layer
 * @param {number[]} heads
 * @param {(measures: T, head: number) => number} value
 * @param {number[] | null} steps  null is all
 */
export function meanOver(measures, layer, heads, value, steps) {
  let sum = 0;
  let count = 0;
  for (const [step, layers] of measures) {
    const held = layers.get(layer);
    if (!held || (steps && !steps.includes(step))) continue;
    for (const head of heads) {
      const amount = value(held, head);
      if (Number.isNaN(amount)) continue;
      sum += amount;
      count++;
    }
  }
  return count ? sum / count : NaN;
}

const EPSILON = 3;
const SHARE = 0.3;

/** Whether a key is a sink, by the rules of `attn analyze`. @param {number} mass mean over heads @param {number} keys how many there are */
export function isSink(mass, keys) {
  return mass > SHARE || keys * mass > (keys * (1 - mass)) / (keys - 1) + EPSILON;
}

/**
 * In how many layers a key alone is a sink, by the rules of `attn analyze`: its mass, mean over heads,
 * in at least one step.
 * @param {Masses} masses
 * @param {number} group of one key
 */
export function sinkLayers(masses, group) {
  if (masses.groups[group].keys.length !== 1) return 0;
  return masses.net.layers.filter(({ index, num_keys }) =>
    [...masses.steps.keys()].some((step) => {
      const mass = masses.mean(index, null, masses.massOf(group), [step]);
      return isSink(mass, num_keys);
    }),
  ).length;
}
