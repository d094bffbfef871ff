/**
 * Where bytes come from. Everything else is the same for a server, one file, and a notebook.
 *
 * @typedef {object} Source
 * @property {(name: string) => Promise<any>} json
 * @property {(name: string, start: number, stop: number) => Promise<ArrayBuffer>} read
 * @property {(name: string) => string} url
 * @property {string} base  address that a worker can make a source of, or nothing
 */

/** @param {string} name */
const escaped = (name) => name.split("/").map(encodeURIComponent).join("/");

/** @param {string} name */
const rewritten = (name) => `${name} was written again while it was open: reload the page`;

/** @param {string} name */
const brokenOff = (name) => `${name} broke off: it was written again, or the server ended: reload the page`;

/** What the server answers; where it does not, that is said. @param {string} name @param {string} address @param {RequestInit} how */
function answerOf(name, address, how) {
  return fetch(address, how).catch(() => {
    throw new Error(
      `${name} cannot be read: the server does not answer. Start it again, and open the address it prints`,
    );
  });
}

/** A server with Range. @implements {Source} */
export class HttpSource {
  /** @param {string} base address that all names are added to */
  constructor(base) {
    this.base = base;
    /** @type {Map<string, string | null>} */
    this.versions = new Map();
  }

  /** @param {string} name */
  url(name) {
    return this.base + escaped(name);
  }

  /** @param {string} name @returns {Promise<any>} */
  async json(name) {
    const answer = await answerOf(name, this.url(name), { cache: "no-cache" });
    const content = answer.headers.get("content-type") ?? "";
    if (!content.startsWith("application/json")) throw new Error(refusal(name, answer.status));
    const value = await answer.json().catch(() => {
      throw new Error(brokenOff(name));
    });
    if (!answer.ok) throw new Error(value.error ?? refusal(name, answer.status));
    return value;
  }

  /** @param {string} name @param {number} start @param {number} stop */
  async read(name, start, stop) {
    if (stop <= start) return new ArrayBuffer(0);
    const answer = await answerOf(name, this.url(name), { headers: { Range: `bytes=${start}-${stop - 1}` } });
    if (answer.status === 416)
      throw new Error(this.versions.has(name) ? rewritten(name) : `${name} ends before byte ${stop}`);
    if (answer.status !== 206) throw new Error(refusal(name, answer.status));
    this.#requireSame(name, answer.headers.get("etag"));
    const data = await answer.arrayBuffer().catch(() => null);
    if (data?.byteLength === stop - start) return data;
    throw new Error(brokenOff(name));
  }

  /** @param {string} name @param {string | null} version */
  #requireSame(name, version) {
    const first = this.versions.get(name);
    if (first === undefined) this.versions.set(name, version);
    else if (first !== version) throw new Error(rewritten(name));
  }
}

const BLOCK = 2 ** 20; // bytes of a file that are compressed together, as Python's `explorer.shelf` does

/** One file that holds everything: each file is an element with text, a line for each block of it. @implements {Source} */
export class PageSource {
  /** @param {string} folder that all names are in, or nothing */
  constructor(folder) {
    this.folder = folder;
    this.base = "";
    /** @type {Map<string, string[]>} */
    this.lines = new Map();
    /** @type {Map<string, Promise<Uint8Array>>} */
    this.blocks = new Map();
  }

  /** @param {string} name */
  url(name) {
    const { kind, text } = this.#element(name);
    return text ? `data:${kind};base64,${text}` : "data:,";
  }

  /** @param {string} name @returns {Promise<any>} */
  async json(name) {
    return JSON.parse(new TextDecoder().decode(await this.#bytes(name, 0, BLOCK * this.#lines(name).length)));
  }

  /** @param {string} name @param {number} start @param {number} stop */
  async read(name, start, stop) {
    if (PAGE_FILES?.has(ASKS) && !PAGE_FILES.has(this.folder + name)) return ask(this.folder + name, start, stop);
    return (await this.#bytes(name, start, stop)).buffer;
  }

  /** As many bytes of these as there are: only their blocks are unpacked. @param {string} name @param {number} start @param {number} stop */
  async #bytes(name, start, stop) {
    const bytes = new Uint8Array(stop - start);
    let filled = 0;
    for (let at = Math.floor(start / BLOCK); at * BLOCK < stop; at++) {
      const block = await this.#block(name, at);
      const part = block.subarray(Math.max(0, start - at * BLOCK), stop - at * BLOCK);
      bytes.set(part, filled);
      filled += part.length;
    }
    return bytes.slice(0, filled);
  }

  /** @param {string} name @param {number} at */
  #block(name, at) {
    const key = `${at} ${name}`;
    const opening = this.blocks.get(key) ?? unpacked(this.#lines(name)[at], name);
    this.blocks.set(key, opening);
    return opening;
  }

  /** @param {string} name */
  #lines(name) {
    const lines = this.lines.get(name) ?? this.#element(name).text.split("\n");
    this.lines.set(name, lines);
    return lines;
  }

  /** @param {string} name */
  #element(name) {
    const element = PAGE_FILES?.get(this.folder + name);
    return { kind: element?.dataset.kind ?? "", text: element?.textContent ?? "" };
  }
}

const ASKS = "asks"; // is in a page whose tensors the page around it has: that of a notebook

/** @param {string} name @param {number} start @param {number} stop @returns {Promise<ArrayBuffer>} */
function ask(name, start, stop) {
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  return new Promise((resolve, reject) => {
    const take = (/** @type {MessageEvent} */ { source, data }) => {
      if (source !== window.parent || data.id !== id) return;
      window.removeEventListener("message", take);
      if (data.error) reject(new Error(data.error));
      else if (data.bytes.byteLength === stop - start) resolve(data.bytes);
      else
        reject(
          new Error(`${name} is shorter than its header says: got ${data.bytes.byteLength} of ${stop - start} bytes`),
        );
    };
    window.addEventListener("message", take);
    window.parent.postMessage({ id, name, start, stop }, "*"); // a frame in a sandbox knows no origin
  });
}

/** The files that stand in this page by name; null where there is a server. @type {Map<string, HTMLElement> | null} */
const PAGE_FILES = pageFiles();

function pageFiles() {
  if (typeof document === "undefined") return null; // in a worker
  const elements = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("script[data-name]")]);
  return elements.length ? new Map(elements.map((one) => [one.dataset.name ?? "", one])) : null;
}

/** @param {string} folder nothing, or that of one trace @returns {Source} */
export function openSource(folder) {
  if (PAGE_FILES) return new PageSource(folder);
  return new HttpSource(folder && new URL(folder, document.baseURI).href);
}

/** @param {string | undefined} text base64 of gzip @param {string} name */
async function unpacked(text, name) {
  if (!text) throw new Error(`${name} is not in this page`);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at); // a tenth of the time of Uint8Array.from
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} name @param {number} status */
function refusal(name, status) {
  if (status === 404) return `${name} is not there any more`;
  if (status === 401) return "the server was started anew: open the address that attn printed";
  return `${name}: the server answered ${status}`;
}
