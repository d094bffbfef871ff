/** What is looked at: strings by name, kept in the address, so that a view can be linked. */
export class State {
  /** @param {Window | null} window whose address it is; null for none */
  constructor(window) {
    this.window = window;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.values = new URLSearchParams(window?.location.hash.slice(1) ?? "");
    window?.addEventListener("hashchange", () => {
      this.values = new URLSearchParams(window.location.hash.slice(1));
      this.#tell();
    });
  }

  /** @param {string} name @param {string} [otherwise] */
  get(name, otherwise = "") {
    return this.values.get(name) ?? otherwise;
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
