/** A shard: its header once, then any part of any tensor. */

/** @typedef {{dtype: string, shape: number[], data_offsets: [number, number]}} Described */
/** @typedef {{name: string, from: number, to: number}} Part  of a tensor, in elements, C order */
/** @typedef {{dtype: string, data: ArrayBuffer}} Piece */

/** @type {Record<string, number>} */
const BYTES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 };
const FIRST = 1 << 16; // most headers, and the small measures behind them, fit into one request
const OTHER = "or is another file than it was: reload the page";
const LARGEST = 1e8; // the format's own limit of a header
const GAP = 1 << 16; // parts nearer than this are read together
const SCALE = ".scale"; // is added to the name of a tensor of roots for that of its scales
const SQUARES = Float32Array.from({ length: 256 }, (_, root) => (root / 255) ** 2);

export class Shard {
  /**
   * @param {import("./source.js").Source} source
   * @param {string} file
   * @param {number} size bytes that the manifest says it has
   */
  constructor(source, file, size) {
    this.source = source;
    this.file = file;
    this.size = size;
    this.start = 0;
    this.first = new ArrayBuffer(0);
    /** @type {Promise<Record<string, Described>> | null} */
    this.opening = null;
  }

  /** @returns {Promise<Record<string, Described>>} tensors by name */
  header() {
    this.opening ??= this.#open();
    return this.opening;
  }

  /**
   * @param {Part[]} parts
   * @returns {Promise<Piece[]>} each in a buffer of its own; roots as the float32 that they stand for
   */
  async read(parts) {
    const tensors = await this.header();
    const rooted = parts.filter(({ name }) => tensors[name + SCALE]);
    if (!rooted.length) return this.#read(parts);
    const scales = new Map(
      rooted.map(({ name }) => [name, { name: name + SCALE, from: 0, to: countOf(tensors[name + SCALE]) }]),
    );
    const pieces = await this.#read([...parts, ...scales.values()]);
    const data = new Map(
      [...scales.keys()].map((name, at) => [name, new Float32Array(pieces[parts.length + at].data)]),
    );
    return parts.map((part, at) => {
      const scale = data.get(part.name);
      return scale ? squared(pieces[at], scale, part.from, tensors[part.name].shape) : pieces[at];
    });
  }

  /** @param {Part[]} parts @returns {Promise<Piece[]>} */
  async #read(parts) {
    const tensors = await this.header();
    const spans = parts.map(({ name, from, to }) => {
      const tensor = tensors[name];
      if (!tensor) throw new Error(`${this.file} has no tensor ${name}`);
      const size = BYTES[tensor.dtype];
      const low = this.start + tensor.data_offsets[0];
      if (from < 0 || low + to * size > this.start + tensor.data_offsets[1])
        throw new Error(`${this.file}: ${name} is smaller than the manifest says`);
      return { dtype: tensor.dtype, low: low + from * size, high: low + to * size };
    });
    const runs = await this.#fetch(merged(spans));
    return spans.map(({ dtype, low, high }) => {
      const run = runs.find((one) => one.low <= low && high <= one.high);
      if (!run) throw new Error(`${this.file}: a part was not read`);
      const isAll = low === run.low && high === run.high && spans.length === runs.length;
      return { dtype, data: isAll ? run.data : run.data.slice(low - run.low, high - run.low) };
    });
  }

  /** @param {{low: number, high: number}[]} runs */
  #fetch(runs) {
    return Promise.all(
      runs.map(async ({ low, high }) => {
        const isHere = high <= this.first.byteLength;
        const data = isHere ? this.first.slice(low, high) : await this.source.read(this.file, low, high);
        return { low, high, data };
      }),
    );
  }

  async #open() {
    this.first = await this.source.read(this.file, 0, Math.min(FIRST, this.size));
    if (this.first.byteLength < 8) throw new Error(`${this.file} is too short for a shard`);
    const length = Number(new DataView(this.first).getBigUint64(0, true));
    if (length > LARGEST || 8 + length > this.size) throw new Error(`${this.file} has a damaged header, ${OTHER}`);
    if (8 + length > this.first.byteLength) this.first = await this.source.read(this.file, 0, 8 + length);
    this.start = 8 + length;
    return parseHeader(new Uint8Array(this.first, 8, length), this.size - this.start, this.file);
  }
}

/**
 * @param {Uint8Array} bytes
 * @param {number} size bytes of all data
 * @param {string} file
 * @returns {Record<string, Described>}
 */
export function parseHeader(bytes, size, file) {
  /** @type {Record<string, Described>} */
  const tensors = Object.create(null); // a tensor may be called __proto__
  let parsed;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Error(`${file} has a damaged header, ${OTHER}`);
  }
  for (const [name, tensor] of Object.entries(parsed ?? {})) {
    if (name === "__metadata__") continue;
    if (!isDescribed(tensor, size)) throw new Error(`${file} has a damaged header (${name}), ${OTHER}`);
    tensors[name] = tensor;
  }
  return tensors;
}

/** @param {any} tensor @param {number} size @returns {tensor is Described} */
function isDescribed(tensor, size) {
  const isCount = (/** @type {unknown} */ value) => Number.isSafeInteger(value) && Number(value) >= 0;
  if (!Array.isArray(tensor?.shape) || !tensor.shape.every(isCount)) return false;
  if (!Array.isArray(tensor.data_offsets) || !tensor.data_offsets.every(isCount)) return false;
  const [low, high] = tensor.data_offsets;
  const count = tensor.shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
  return high <= size && high - low === count * BYTES[tensor.dtype];
}

/** @param {Described} tensor */
const countOf = ({ shape }) => shape.reduce((a, b) => a * b, 1);

/**
 * The values that roots stand for, as Python's `explorer.roots.from_roots`.
 * @param {Piece} piece
 * @param {Float32Array} scale  (…, key)
 * @param {number} from  which element of the tensor the piece begins with
 * @param {number[]} shape  (…, query, key)
 * @returns {Piece}
 */
function squared({ data }, scale, from, shape) {
  const keys = shape[shape.length - 1];
  const size = shape[shape.length - 2] * keys;
  const roots = new Uint8Array(data);
  const values = new Float32Array(roots.length);
  for (let i = 0; i < roots.length; i++) {
    const at = from + i;
    values[i] = SQUARES[roots[i]] * scale[Math.floor(at / size) * keys + (at % keys)];
  }
  return { dtype: "F32", data: values.buffer };
}

/** @param {{low: number, high: number}[]} spans */
function merged(spans) {
  /** @type {{low: number, high: number}[]} */
  const runs = [];
  for (const { low, high } of [...spans].sort((a, b) => a.low - b.low)) {
    const last = runs.at(-1);
    if (last && low - last.high <= GAP) last.high = Math.max(last.high, high);
    else runs.push({ low, high });
  }
  return runs;
}
