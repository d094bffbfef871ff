import { percent } from "../draw/colours.js";
import { largest } from "../draw/paint.js";
import { strongest } from "./profiles.js";
import { shownText } from "./text-pane.js";

/** What the parts of screen B say. */

/** @typedef {{row: number, column: number}} Focus  what is looked at; -1 is nothing on that axis */

/** @param {import("../data/texts.js").Token[]} tokens @param {string[]} words @returns {(position: number) => string} */
export function wordAt(tokens, words) {
  const places = new Map(tokens.map((token, at) => [token.position, at]));
  return (position) => words[places.get(position) ?? -1] ?? `[${position}]`;
}

/** The next token that holds a text, from the start again at the end; null is none. @param {string[]} words @param {string} sought @param {number} current */
export function nextFound(words, sought, current) {
  const found = words.flatMap((word, at) => (sought && word.toLowerCase().includes(sought.toLowerCase()) ? [at] : []));
  return found.find((at) => at > current) ?? found[0] ?? null;
}

/** @param {import("../data/texts.js").Token[]} tokens @param {number} position @param {(at: number) => Focus} cellOf */
export function pinOf(tokens, position, cellOf) {
  const at = tokens.findIndex((token) => token.position === position);
  return at < 0 ? "" : focusText(cellOf(at));
}

/** What one token reads and who reads it, by token. @param {import("../sums/matrix.js").MatrixSums | null} sums @param {import("../data/texts.js").Token[]} tokens @param {number} current */
export function profileOf(sums, tokens, current) {
  if (!sums || current < 0) return null;
  const { row, column } = tokens[current];
  const reads = row >= 0 ? sums.row(row) : null;
  const readers = column >= 0 ? sums.column(column) : null;
  return {
    reads: reads && tokens.map((token) => (token.column >= 0 ? reads[token.column] : NaN)),
    readers: readers && tokens.map((token) => (token.row >= 0 ? readers[token.row] : NaN)),
  };
}

/** @param {Float64Array} received @param {import("../data/texts.js").Token[]} tokens */
export const onTokens = (received, tokens) => tokens.map((token) => (token.column >= 0 ? received[token.column] : NaN));

/** Ink, 0 to 1: the root, so that little is seen too. @param {number[] | null | undefined} values */
export function inkOf(values) {
  if (!values) return null;
  const top = largest(Float64Array.from(values)) || 1;
  return values.map((value) => Math.sqrt(Math.max(0, value || 0) / top));
}

/** @param {import("../data/texts.js").Token[]} tokens @param {string[]} words @param {"row" | "column"} axis @param {number} size */
export function textsOf(tokens, words, axis, size) {
  const texts = Array.from({ length: size }, () => "");
  tokens.forEach((token, at) => {
    if (token[axis] >= 0) texts[token[axis]] = shownText(words[at]);
  });
  return texts;
}

/** @param {import("../data/texts.js").Token[]} tokens @param {number[] | null} steps @param {import("../data/texts.js").Written} written @param {number} cell @returns {import("./text-pane.js").TokenState[]} */
export function statesOf(tokens, steps, written, cell) {
  const moment = steps?.length === 1 ? written.moment(steps[0], cell) : null;
  if (!moment) return [];
  return tokens.map(({ position }) => {
    if (position === null || !(position in moment.masked)) return "";
    return moment.finalised[position] ? "fresh" : moment.masked[position] ? "masked" : "";
  });
}

/** @param {Focus} focus @param {{rows: string[], columns: string[]}} names */
export function focusName({ row, column }, names) {
  return [row >= 0 && `“${names.rows[row]}” (${row})`, column >= 0 && `“${names.columns[column]}” (${column})`]
    .filter(Boolean)
    .join(" → ");
}

/** What is looked at, in words. @param {Focus | null} focus @param {any} names @param {import("../sums/matrix.js").MatrixSums | null} sums @param {any} profile @param {any} shown */
export function sayFocus(focus, names, sums, profile, { tokens, words, current, isReaders }) {
  if (!focus || !sums) return "Point at a token or a cell, or use the arrow keys.";
  const { row, column } = focus;
  if (row >= 0 && column >= 0)
    return `“${names.rows[row]}” (${row}) reads “${names.columns[column]}” (${column}): ${percent(sums.value(row, column))}`;
  const values = isReaders ? profile?.readers : profile?.reads;
  if (!values) return isReaders ? "Nothing reads it here." : "It reads nothing here.";
  const first = strongest(values, 3).map((at) => `“${shownText(words[at])}” ${percent(values[at])}`);
  const name = `“${shownText(words[current])}” (${tokens[current].position})`;
  return `${name} ${isReaders ? "is read by" : "reads"} ${first.join(", ") || "nothing"}`;
}

/** @param {Focus} focus */
export const focusText = ({ row, column }) => `${row},${column}`;

/** @param {string} text @param {import("../data/texts.js").Kind} net @returns {Focus | null} */
export function readFocus(text, { rows, columns }) {
  const [row, column, ...more] = text.split(",").map(Number);
  const fits = (/** @type {number} */ at, /** @type {number} */ size) => Number.isInteger(at) && at >= -1 && at < size;
  return text && fits(row, rows.length) && fits(column, columns.length) && row + column > -2 && !more.length
    ? { row, column }
    : null;
}
