/** What is looked at: strings by name, kept in the address, so that a view can be linked. */
export class State {
  /** @param {Window | null} window whose address it is; null for none */
  constructor(window) {
    this.window = window;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    /** What the address says and is not here, by its name and who read it. @type {Map<string, string[]>} */
    this.strays = new Map();
    this.values = new URLSearchParams(window?.location.hash.slice(1) ?? "");
    window?.addEventListener("hashchange", () => {
      this.values = new URLSearchParams(window.location.hash.slice(1));
      this.strays.clear();
      this.#tell();
    });
  }

  /** @param {string} name @param {string} [otherwise] */
  get(name, otherwise = "") {
    return this.values.get(name) ?? otherwise;
  }

  /**
   * What the address says of something. What of it is not here is kept, so that the page can tell of it.
   * @template T
   * @param {string} name
   * @param {(text: string, refuse: (part: string) => void) => T | null} parse  null refuses all of the text
   * @param {string} [reader]  where several read one name, and may find different things
   * @returns {T | null} null where it says nothing
   */
  read(name, parse, reader = "") {
    const text = this.get(name);
    /** @type {string[]} */
    const refused = [];
    const value = text ? parse(text, (part) => refused.push(part)) : null;
    if (text && value === null && !refused.length) refused.push(text);
    this.#note(`${name} ${reader}`, refused);
    return value;
  }

  /** One of some words. @param {string} name @param {readonly string[]} words @param {string} [otherwise] @returns {string} */
  choice(name, words, otherwise = "") {
    return this.read(name, (text) => (words.includes(text) ? text : null)) ?? otherwise;
  }

  /** A number between 0 and 1. @param {string} name @param {number} otherwise */
  part(name, otherwise) {
    const parse = (/** @type {string} */ text) => (Number(text) >= 0 && Number(text) <= 1 ? Number(text) : null);
    return this.read(name, parse) ?? otherwise;
  }

  /** @param {string} key @param {string[]} refused */
  #note(key, refused) {
    if (String(this.strays.get(key) ?? []) === String(refused)) return;
    if (refused.length) this.strays.set(key, refused);
    else this.strays.delete(key);
    queueMicrotask(() => this.#tell());
  }

  /** @param {Record<string, string | null>} changes null or nothing takes a name away */
  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (value) this.values.set(name, value);
      else this.values.delete(name);
    }
    this.#write("replaceState", `#${this.values}`);
    this.#tell();
  }

  /** @param {() => void} listener @returns {() => void} which ends it */
  on(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Look at something else, so that Back comes back. @param {string} hash */
  go(hash) {
    this.values = new URLSearchParams(hash.slice(1));
    this.strays.clear();
    this.#write("pushState", hash);
    this.#tell();
  }

  /** @param {"pushState" | "replaceState"} how @param {string} hash */
  #write(how, hash) {
    try {
      this.window?.history[how](null, "", hash);
    } catch {
      // a page in a notebook has no address of its own
    }
  }

  #tell() {
    for (const listener of [...this.listeners]) listener();
  }
}

/**
 * Some of what can be named, as it stands in the address, one after the other.
 * @param {State} state
 * @param {string} name
 * @param {(id: string) => boolean} isThere
 * @returns {string[]}
 */
export function readIds(state, name, isThere) {
  const all = state.read(name, (text, refuse) =>
    text.split(" ").filter((id) => {
      if (id && !isThere(id)) refuse(id);
      return id && isThere(id);
    }),
  );
  return all ?? [];
}
