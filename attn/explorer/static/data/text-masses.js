import { percent } from "../draw/colours.js";
import { idle } from "../frame.js";
import { visible } from "../safe.js";
import { toFloats } from "./half.js";
import { isSink, meanOver } from "./masses.js";
import { Shard } from "./safetensors.js";

/**
 * The small measures of every layer, head and step of a text: what its parts read, and entropy.
 *
 * @typedef {Record<string, {mass: Float32Array | null, entropy: Float32Array | null}>} LayerMeasures  by query part
 */

const MOST = 256e6; // bytes of masses that are read; of more, steps are left out evenly

export class TextMasses {
  /**
   * @param {import("./source.js").Source} source
   * @param {import("./texts.js").TextTrace} trace
   * @param {any} selection
   */
  constructor(source, trace, selection) {
    this.source = source;
    this.trace = trace;
    this.net = selection.net;
    this.cell = trace.cell(selection);
    this.block = this.net.block.split(".")[1];
    /** @type {Map<number, Map<number, LayerMeasures>>} by step, by layer */
    this.steps = new Map();
  }

  /** The steps that are read: all, or every so many. */
  get wanted() {
    const heads = this.net.layers.reduce((/** @type {number} */ sum, /** @type {any} */ layer) => sum + layer.heads, 0);
    const bytes = 4 * heads * this.net.columns.length * this.net.masses.length;
    const most = Math.max(1, Math.floor(MOST / bytes));
    const every = Math.ceil(this.trace.steps.length / most);
    return this.trace.steps.filter((_, at) => at % every === 0);
  }

  /** @param {AbortSignal} signal @param {() => void} tell after each step */
  async load(signal, tell) {
    for (const step of this.wanted) {
      if (this.steps.has(step.index)) continue;
      await idle();
      if (signal.aborted) return;
      const window = this.trace.windowOf(this.net, step.index);
      this.steps.set(step.index, await this.#read(new Shard(this.source, step.file, step.bytes), window));
      tell();
    }
  }

  /**
   * Mean over steps and heads; NaN where nothing ran.
   * @param {number} layer
   * @param {number | null} head
   * @param {(measures: LayerMeasures, head: number) => number} value
   * @param {number[] | null} steps
   */
  mean(layer, head, value, steps) {
    const { heads } = this.net.layers.find((/** @type {any} */ each) => each.index === layer);
    return meanOver(this.steps, layer, head === null ? [...Array(heads).keys()] : [head], value, steps);
  }

  /** What each column gets, mean over layers, heads and steps, where there are no maps to tell. @param {number[] | null} steps */
  received(steps) {
    const { layers, keys, masses } = this.net;
    return Float64Array.from(keys, (/** @type {number[]} */ places) => {
      const mass = this.massOf(masses[0], places);
      const means = layers.map((/** @type {any} */ layer) => this.mean(layer.index, null, mass, steps));
      return means.reduce((/** @type {number} */ sum, /** @type {number} */ value) => sum + value, 0) / layers.length;
    });
  }

  /** In how many layers a column is a sink, in at least one step. @param {number} column */
  sinkLayers(column) {
    const { layers, keys, masses } = this.net;
    const mass = this.massOf(masses[0], keys[column]);
    const isThere = (/** @type {number} */ layer) => (/** @type {number} */ step) =>
      isSink(this.mean(layer, null, mass, [step]), this.#keys(this.trace.windowOf(this.net, step)));
    const steps = [...this.steps.keys()];
    return layers.filter((/** @type {any} */ layer) => steps.some(isThere(layer.index))).length;
  }

  /** How many keys a step has. @param {number[] | null} window */
  #keys(window) {
    const keys = this.net.keys.flat();
    return window ? keys.filter((/** @type {number} */ key) => key < window[3]).length : keys.length;
  }

  /** What a query part gives to some keys. @param {string} part @param {number[]} places of keys in the layer */
  massOf(part, places) {
    return (/** @type {LayerMeasures} */ measures, /** @type {number} */ head) => {
      const mass = measures[part]?.mass;
      if (!mass) return NaN;
      const keys = this.#width(mass, measures);
      return places.reduce((sum, place) => sum + (place < keys ? mass[head * keys + place] : 0), 0);
    };
  }

  /** @param {Float32Array} mass @param {any} measures */
  #width(mass, measures) {
    return mass.length / measures.heads;
  }

  /** @param {Shard} shard @param {number[] | null} window @returns {Promise<Map<number, LayerMeasures>>} */
  async #read(shard, window) {
    const tensors = await shard.header();
    const width = this.#keys(window);
    /** @type {import("./safetensors.js").Part[]} */
    const parts = [];
    const want = (/** @type {string} */ name, /** @type {number} */ size) => {
      if (tensors[name]) parts.push({ name, from: this.cell * size, to: (this.cell + 1) * size });
    };
    for (const { index, heads } of this.net.layers)
      for (const part of this.net.masses) {
        want(`${index}/mass.${part}.${this.block}`, heads * width);
        want(`${index}/entropy.${part}.${this.block}`, heads);
      }
    const pieces = await shard.read(parts);
    const values = new Map(parts.map((part, at) => [part.name, toFloats(pieces[at].data, pieces[at].dtype)]));
    const measures = (/** @type {any} */ { index, heads }) => ({
      heads,
      ...Object.fromEntries(
        this.net.masses.map((/** @type {string} */ part) => [
          part,
          {
            mass: values.get(`${index}/mass.${part}.${this.block}`) ?? null,
            entropy: values.get(`${index}/entropy.${part}.${this.block}`) ?? null,
          },
        ]),
      ),
    });
    return new Map(this.net.layers.map((/** @type {any} */ layer) => [layer.index, measures(layer)]));
  }
}

/**
 * What the grid of layers and heads can show: what the token gets, what parts give to parts, entropy.
 * @param {TextMasses} masses
 * @param {import("./texts.js").Token | null} token
 * @param {string} name  of the token
 * @returns {import("../parts/cells.js").Measure[]}
 */
export function textMeasures(masses, token, name) {
  const { net } = masses;
  const held = [...(masses.steps.values().next().value?.values() ?? [])];
  const nameOf = (/** @type {string} */ part) => (part === "all" ? "every token" : visible(part));
  const places = (/** @type {number} */ segment) =>
    net.keys.filter((/** @type {any} */ _, /** @type {number} */ at) => net.columns[at][0] === segment).flat();
  /** @type {import("../parts/cells.js").Measure[]} */
  const measures = [];
  const add = (/** @type {string} */ name_, /** @type {string} */ label, /** @type {any} */ value, format = percent) =>
    measures.push({ name: name_, label, value, format });
  for (const part of net.masses) {
    if (token && token.column >= 0)
      add(`token.${part}`, `attention of ${nameOf(part)} to “${name}”`, masses.massOf(part, net.keys[token.column]));
  }
  for (const part of net.masses)
    net.segments.forEach((/** @type {string} */ segment, /** @type {number} */ at) => {
      if (net.segments.length > 1 && places(at).length)
        add(
          `${part}.${segment}`,
          `attention of ${nameOf(part)} to all of ${visible(segment)}`,
          masses.massOf(part, places(at)),
        );
    });
  const number = (/** @type {number} */ value) => (Number.isNaN(value) ? "–" : value.toFixed(2));
  for (const part of net.masses)
    if (held.some((measure) => measure[part]?.entropy))
      add(
        `entropy.${part}`,
        `entropy of rows of ${nameOf(part)}, nats`,
        (/** @type {any} */ one, /** @type {number} */ head) => one[part]?.entropy?.[head] ?? NaN,
        number,
      );
  return measures;
}
