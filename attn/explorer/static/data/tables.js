/**
 * Tables that `attn compare` and `attn analyze` write.
 *
 * @typedef {Record<string, string>} Row  cells by column
 */

/** Rows of a CSV file; a text that was kept from being a formula is as it was. @param {string} text @returns {Row[]} */
export function parseCsv(text) {
  /** @type {string[][]} */
  const lines = [];
  /** @type {string[]} */
  let line = [];
  const cells = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy;
  for (let found = cells.exec(text); found; found = cells.exec(text)) {
    const [all, cell, end] = found;
    line.push(plain(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell));
    if (end === ",") continue;
    if (line.length > 1 || line[0]) lines.push(line);
    line = [];
    if (!all.length || cells.lastIndex >= text.length) break;
  }
  const [head, ...rows] = lines;
  return head ? rows.map((row) => Object.fromEntries(head.map((name, at) => [name, row[at] ?? ""]))) : [];
}

/** @param {string} cell */
const plain = (cell) => (/^'[=+\-@\t\r]/.test(cell) ? cell.slice(1) : cell);

/** A number of a cell; NaN where it is empty. @param {string | undefined} cell */
export const numberOf = (cell) => (cell ? Number(cell) : Number.NaN);

/** A number of a cell as it is shown. @param {string | undefined} cell @param {number} digits */
export function decimals(cell, digits) {
  const value = numberOf(cell);
  return Number.isNaN(value) ? "–" : value.toFixed(digits).replace("-", "\u2212");
}

/** The largest size of some numbers, those that are none left out. @param {Iterable<number>} values @returns {number} above 0 */
export function largestSize(values) {
  let most = 1e-12;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}

const LARGEST = 64e6; // bytes of a table

/** Tables of a comparison, each read once. */
export class Tables {
  /** @param {import("./source.js").Source} source @param {Record<string, number>} sizes bytes by name */
  constructor(source, sizes) {
    this.source = source;
    this.sizes = sizes;
    /** @type {Map<string, Promise<Row[]>>} */
    this.read = new Map();
  }

  /** @param {string} name such as `mass.csv` @returns {Promise<Row[]>} nothing where there is none */
  rows(name) {
    const file = `tables/${name}`;
    if (!Object.hasOwn(this.sizes, file)) return Promise.resolve([]);
    if (this.sizes[file] > LARGEST) return Promise.reject(new Error(`${file} is too large for the page`));
    const held =
      this.read.get(name) ??
      this.source.read(file, 0, this.sizes[file]).then((data) => parseCsv(new TextDecoder().decode(data))); // prettier-ignore
    this.read.set(name, held);
    return held;
  }
}
