/**
 * The list of what was opened, as it is found.
 *
 * @typedef {object} Row  a trace, or one that could not be made
 * @property {string} [id]
 * @property {"trace" | "comparison"} [kind]
 * @property {string} label
 * @property {string} [status]
 * @property {[number, number | null] | null} [steps]  that are there, of how many, while it is not finished
 * @property {string} [prompt]
 * @property {number} [seed]
 * @property {string} [backend]
 * @property {string[]} [loras]
 * @property {string[]} [cuts]
 * @property {[number, number] | null} [size]
 * @property {string | null} [picture]
 * @property {number} [written]  milliseconds
 * @property {string} [error]
 */

const PACE = 3000; // milliseconds between looks, at least, while something is not finished or not checked

export class Listed {
  /** @param {import("./source.js").Source} source */
  constructor(source) {
    this.source = source;
    /** @type {Row[]} */
    this.items = [];
    /** @type {Row[]} */
    this.failures = [];
    /** @type {string[]} */
    this.beside = [];
    this.unchecked = 0; // manifests that were not yet held against their digests
    this.isWhole = false; // whether all of it was told
    this.error = ""; // why it was not read again
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  get isChanging() {
    return this.unchecked > 0 || this.items.some((row) => row.status === "partial");
  }

  /** @param {() => void} listener @returns {() => void} which ends it */
  on(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Read all of it; the first time each piece is shown as it comes. */
  async read() {
    /** @type {Row[]} */
    let items = [];
    let name = "index.json";
    while (name) {
      const { items: more, next, ...end } = await this.source.json(name);
      items = items.concat(more); // a piece may have more rows than a call may have arguments
      name = Number.isInteger(next) ? `index/${next}.json` : "";
      if (!name) Object.assign(this, { failures: [], beside: [], unchecked: 0 }, end, { isWhole: true, error: "" });
      if (!name || !this.isWhole) this.#show(items);
    }
  }

  /** Read it again and again, while something in it changes. @returns {() => void} which ends it */
  follow() {
    let timer = 0;
    let isOver = false;
    const look = async () => {
      const began = performance.now();
      if (this.isWhole && this.isChanging)
        await this.read().catch((/** @type {Error} */ error) => {
          this.error = error.message;
          this.#show(this.items);
        });
      const took = performance.now() - began; // seconds, where a hundred thousand are listed
      if (!isOver) timer = setTimeout(look, Math.max(PACE, 9 * took));
    };
    timer = setTimeout(look, PACE);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }

  /** @param {Row[]} items */
  #show(items) {
    this.items = items;
    for (const listener of [...this.listeners]) listener();
  }
}
