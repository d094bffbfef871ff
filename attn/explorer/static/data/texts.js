import { visible } from "../safe.js";
import { toFloats } from "./half.js";
import { Shard } from "./safetensors.js";
import { Trace } from "./trace.js";

/**
 * A trace of a text: kinds of matrices, as `explorer/matrices.py` describes them, and what was written.
 *
 * @typedef {object} Token
 * @property {string} id        `segment.position`
 * @property {string} segment
 * @property {number | null} position  null is the rest of the segment
 * @property {number} row       of the matrix; -1 where it reads nothing
 * @property {number} column    of the matrix; -1 where it is not read
 *
 * @typedef {object} Kind
 * @property {string} name
 * @property {string} block
 * @property {{index: number, tower: string, path: string, heads: number, gates: string[]}[]} layers
 * @property {string[]} segments
 * @property {[number, number | null][]} rows
 * @property {[number, number | null][]} columns
 * @property {number[]} queries
 * @property {number[][]} keys
 * @property {(number[] | null)[]} windows
 * @property {string[]} masses
 */

export class TextTrace extends Trace {
  /** @param {any} facts */
  constructor(facts) {
    super(facts);
    /** @type {any[]} */
    this.nets = facts.matrices;
  }

  /** @param {any} selection @param {string} base @returns {import("../sums/matrix.js").MatrixJob} */
  matrixJob(selection, base) {
    const { net, steps, layers, heads } = selection;
    const shown = this.shardsOf(steps, heads);
    return {
      kind: "matrix",
      base,
      block: net.block,
      shards: shown.map(({ file, bytes, index }) => ({ file, bytes, window: this.windowOf(net, index) })),
      layers: this.layersOf(net, layers, heads, net.block),
      queries: net.queries,
      keys: net.keys,
      cell: this.cell(selection),
      heads,
    };
  }

  /** @param {Kind} net @param {number | undefined} step */
  windowOf(net, step) {
    const at = this.manifest.steps.findIndex((/** @type {any} */ each) => each.index === step);
    return at < 0 ? null : net.windows[at];
  }
}

/** All positions of a kind of matrix, as they follow each other in the text. @param {Kind} kind @returns {Token[]} */
export function tokensOf({ segments, rows, columns }) {
  /** @type {Map<string, Token>} */
  const tokens = new Map();
  const token = (/** @type {[number, number | null]} */ [segment, position]) => {
    const id = `${segments[segment]}.${position ?? "rest"}`;
    const made = tokens.get(id) ?? { id, segment: segments[segment], position, row: -1, column: -1 };
    tokens.set(id, made);
    return made;
  };
  for (const [at, column] of columns.entries()) token(column).column = at;
  for (const [at, row] of rows.entries()) token(row).row = at;
  return [...tokens.values()];
}

/**
 * What stood at every position, as far as it is known.
 *
 * @typedef {object} Moment  what a step read and wrote, by position
 * @property {Float32Array} tokens
 * @property {Float32Array} masked
 * @property {Float32Array} finalised
 * @property {Float32Array} confidence
 */

export class Written {
  /** @type {Map<string, string>} */
  names = new Map();
  /** @type {Map<number, any>} by step, all cells */
  steps = new Map();

  /**
   * @param {import("./texts.js").TextTrace} trace
   * @param {import("./source.js").Source} source
   * @param {Written | null} before  of the same trace, when it had fewer steps
   */
  constructor(trace, source, before = null) {
    this.trace = trace;
    this.source = source;
    if (before) {
      this.names = new Map(before.names);
      this.steps = before.steps;
    }
    this.read = { key: "", tokens: new Map() };
    for (const tokens of this.#listed()) for (const token of tokens) this.names.set(String(token.id), token.text);
  }

  /** @returns {any[][]} */
  #listed() {
    const { tokens, texts } = this.trace.manifest;
    return [...Object.values(tokens), ...(texts ?? []).map((/** @type {any} */ text) => text.tokens)];
  }

  /** Read what each step wrote, the last one first, and how tokens are spelled. @param {AbortSignal} signal @param {() => void} tell */
  async load(signal, tell) {
    if (this.trace.manifest.outputs.includes(HISTORY)) {
      const history = await this.source.json(HISTORY);
      for (const [id, text] of Object.entries(history?.texts ?? {})) this.names.set(id, String(text));
    }
    for (const step of [...this.trace.steps].reverse()) {
      if (signal.aborted) return;
      if (this.steps.has(step.index)) continue;
      const shard = new Shard(this.source, step.file, step.bytes);
      const tensors = await shard.header();
      if (!tensors["step/tokens"]) break; // steps that write a token each do not say so
      const parts = STEP_MEASURES.map(
        (name) => tensors[`step/${name}`] && { name: `step/${name}`, from: 0, to: sizeOf(tensors[`step/${name}`]) },
      );
      if (parts.some((part) => !part)) throw new Error(`${step.file} does not say all of what was written`);
      const pieces = await shard.read(/** @type {any} */ (parts));
      this.steps.set(
        step.index,
        Object.fromEntries(STEP_MEASURES.map((name, at) => [name, toFloats(pieces[at].data, pieces[at].dtype)])),
      );
    }
    tell();
  }

  /** Whether steps say what they wrote. */
  get isKnown() {
    return this.steps.size > 0;
  }

  /** @param {number} step @param {number} cell place of branch and sample @returns {Moment | null} */
  moment(step, cell) {
    const all = this.steps.get(step);
    if (!all) return null;
    const { branches, samples } = this.trace.manifest;
    const length = all.tokens.length / (branches.length * samples);
    return /** @type {any} */ (
      Object.fromEntries(STEP_MEASURES.map((name) => [name, all[name].subarray(cell * length, (cell + 1) * length)]))
    );
  }

  /**
   * What a token says, in the end.
   * @param {Token} token
   * @param {{branch: string, sample: number}} selection
   */
  text(token, selection) {
    const { position } = token;
    if (position === null) return `rest of ${visible(token.segment)}`;
    const { branches, samples } = this.trace.manifest;
    const listed = this.#read(selection).get(token.id);
    const cell = branches.indexOf(selection.branch) * samples + selection.sample;
    const end = this.moment(this.#last, cell);
    const id = end && position < end.tokens.length ? String(end.tokens[position]) : null;
    if (listed && (id === null || String(listed.id) === id)) return visible(listed.text);
    return visible((id !== null && this.names.get(id)) || `[${position}]`);
  }

  /** The step after which all stands as it is shown: of a trace that grows, the last that was read. */
  get #last() {
    const isWhole = this.trace.manifest.status === "complete";
    return isWhole ? (this.trace.steps.at(-1)?.index ?? -1) : Math.max(...this.steps.keys());
  }

  /** Whether nothing stands there. @param {Token} token @param {{branch: string, sample: number}} selection */
  isPadding(token, selection) {
    return Boolean(this.#read(selection).get(token.id)?.padding);
  }

  /** The tokens of one branch and sample, by id. @param {{branch: string, sample: number}} selection @returns {Map<string, any>} */
  #read({ branch, sample }) {
    const { tokens, texts } = this.trace.manifest;
    const key = `${branch}/${sample}`;
    if (this.read.key !== key) {
      const listed = texts?.length ? texts[sample].tokens : (tokens[branch] ?? []);
      this.read = {
        key,
        tokens: new Map(listed.map((/** @type {any} */ one) => [`${one.segment}.${one.position}`, one])),
      };
    }
    return this.read.tokens;
  }
}

const HISTORY = "outputs/history.json";
const STEP_MEASURES = ["tokens", "masked", "finalised", "confidence"];

/** @param {import("./safetensors.js").Described} tensor */
const sizeOf = ({ shape }) => shape.reduce((a, b) => a * b, 1);
