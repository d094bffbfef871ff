/**
 * Positions of several texts: those of one segment and place in it stand for each other, whatever token is there.
 *
 * @typedef {import("../text/text-telling.js").Focus} Focus
 * @typedef {import("../data/texts.js").Kind} Kind
 */

class SharedAxis {
  /** @param {string[][]} ids of each text, in its order */
  constructor(ids) {
    /** @type {string[]} */
    this.ids = [...new Set(ids.flat())];
    const places = new Map(this.ids.map((id, at) => [id, at]));
    /** Of each text, the shared place of each of its own. */
    this.shared = ids.map((listed) => listed.map((id) => places.get(id) ?? -1));
    /** Of each text, its own place of each shared one; -1 where it has none. */
    this.own = ids.map((listed) => {
      const held = new Map(listed.map((id, at) => [id, at]));
      return this.ids.map((id) => held.get(id) ?? -1);
    });
  }

  /** Places that both of two texts have: their own, side by side. @param {number} first @param {number} second @returns {[number, number][]} */
  both(first, second) {
    return this.ids
      .map((_, at) => /** @type {[number, number]} */ ([this.own[first][at], this.own[second][at]]))
      .filter(([a, b]) => a >= 0 && b >= 0);
  }
}

/** What each place of an axis is called: its segment, and how far it is from where that begins. @param {Kind} kind @param {"rows" | "columns"} axis */
function idsOf(kind, axis) {
  /** @type {Map<number, number>} */
  const starts = new Map();
  for (const [segment, position] of [...kind.rows, ...kind.columns])
    if (position !== null) starts.set(segment, Math.min(position, starts.get(segment) ?? position));
  return kind[axis].map(
    ([segment, position]) =>
      `${kind.segments[segment]} ${position === null ? "rest" : position - (starts.get(segment) ?? 0)}`,
  );
}

export class SharedAxes {
  /** @param {(Kind | null)[]} kinds of matrices; null is not read yet */
  constructor(kinds) {
    const ids = (/** @type {"rows" | "columns"} */ axis) => kinds.map((kind) => (kind ? idsOf(kind, axis) : []));
    this.rows = new SharedAxis(ids("rows"));
    this.columns = new SharedAxis(ids("columns"));
  }

  /** What is looked at in one text, if it has that. @param {Focus | null} focus @param {number} text @returns {Focus | null} */
  own(focus, text) {
    if (!focus) return null;
    const row = focus.row < 0 ? -1 : (this.rows.own[text][focus.row] ?? -1);
    const column = focus.column < 0 ? -1 : (this.columns.own[text][focus.column] ?? -1);
    const isThere = (focus.row < 0 || row >= 0) && (focus.column < 0 || column >= 0);
    return isThere ? { row, column } : null;
  }

  /** @param {Focus | null} focus of one text @param {number} text @returns {Focus | null} of all */
  shared(focus, text) {
    if (!focus) return null;
    return {
      row: focus.row < 0 ? -1 : this.rows.shared[text][focus.row],
      column: focus.column < 0 ? -1 : this.columns.shared[text][focus.column],
    };
  }
}
