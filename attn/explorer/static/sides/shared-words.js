import { readSelection } from "../data/trace.js";
import { visible } from "../safe.js";

/**
 * Words of several traces, by segment, text and occurrence.
 *
 * @typedef {object} SharedWord
 * @property {string} id
 * @property {string} text
 * @property {string} segment
 * @property {string} name
 * @property {(number[] | null)[]} columns  of the maps of each trace; null where it has no such word
 */

/**
 * @param {{id: string, trace: import("../data/trace.js").Trace}[]} sides
 * @param {import("../state.js").State} state
 * @returns {SharedWord[]}
 */
export function sharedWords(sides, state) {
  /** @type {Map<string, SharedWord>} */
  const words = new Map();
  sides.forEach(({ id, trace }, side) => {
    const selection = readSelection(trace, state, id);
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const group of trace.groups(selection.net.keyset, selection.branch)) {
      if (group.kind !== "word" || !group.columns.length) continue;
      const text = `${group.segment}.${group.text}`;
      const occurrence = (counts.get(text) ?? 0) + 1;
      counts.set(text, occurrence);
      const name = encodeURIComponent(`${text}.${occurrence}`);
      const word = words.get(name) ?? {
        id: name,
        text: group.text,
        segment: group.segment,
        name: "",
        columns: sides.map(() => null),
      };
      word.columns[side] = group.columns;
      words.set(name, word);
    }
  });
  return named([...words.values()]);
}

/** @param {SharedWord[]} words */
function named(words) {
  const segments = new Set(words.map((word) => word.segment)).size;
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const word of words) {
    const text = segments > 1 ? `${visible(word.text)} (${visible(word.segment)})` : visible(word.text);
    const count = (counts.get(text) ?? 0) + 1;
    counts.set(text, count);
    word.name = count > 1 ? `${text} · ${count}` : text;
  }
  return words;
}

/**
 * What each word gets in each trace, at a place or in the whole picture; NaN where there is no such word.
 * @param {SharedWord[]} words
 * @param {(import("../sums/sums.js").MapSums | null)[]} sums
 * @param {[number, number]} grid  that the place is on
 * @param {number | null} at       place; null is the whole picture
 * @returns {Map<string, number[]>} by word
 */
export function amountsOf(words, sums, grid, at) {
  const columns = sums.map((one) => {
    if (!one?.count) return null;
    if (at === null) return one.whole();
    const [rows, across] = one.grid;
    const row = Math.min(rows - 1, Math.floor(((Math.floor(at / grid[1]) + 0.5) * rows) / grid[0]));
    const column = Math.min(across - 1, Math.floor((((at % grid[1]) + 0.5) * across) / grid[1]));
    return one.amounts([row, column, row + 1, column + 1]);
  });
  return new Map(
    words.map((word) => [
      word.id,
      columns.map((amounts, side) => {
        const own = word.columns[side];
        return amounts && own ? own.reduce((sum, column) => sum + amounts[column], 0) : Number.NaN;
      }),
    ]),
  );
}
