import { onPointer } from "../frame.js";
import { KINDS } from "./jobs.js";

/** Jobs in a worker; here in the page, where it has no address to make one of. */
export class Work {
  /** @param {import("../data/source.js").Source} source */
  constructor(source) {
    this.source = source;
    this.last = 0;
    /** @type {Map<number, (message: any) => void>} */
    this.waiting = new Map();
    this.worker = source.base ? new Worker("static/sums/worker.js", { type: "module" }) : null;
    if (!this.worker) return;
    this.worker.onmessage = ({ data }) => this.waiting.get(data.id)?.(data);
    this.worker.onerror = () => this.#fail("the part of the page that reads broke off: reload the page");
    this.forget = onPointer(() => this.worker?.postMessage({ pointer: true }));
  }

  /**
   * @param {any} job  see `jobs.js`
   * @param {AbortSignal} signal
   * @param {(done: number, all: number) => void} tell
   * @returns {Promise<any>} sums, as the kind of the job makes them
   */
  run(job, signal, tell) {
    const { worker } = this;
    const kind = KINDS[job.kind ?? "maps"];
    if (!worker)
      return kind.read(this.source, job, (done, all) => {
        tell(done, all);
        return !signal.aborted;
      });
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, (message) => {
        if (message.sums) resolve(kind.of(message.sums));
        else if (message.error) reject(new Error(message.error));
        else return tell(message.done, message.all);
        this.waiting.delete(id);
      });
      signal.addEventListener("abort", () => worker.postMessage({ cancel: id }));
      worker.postMessage({ id, job });
    });
  }

  /** @param {string} error */
  #fail(error) {
    for (const take of [...this.waiting.values()]) take({ error });
  }

  close() {
    this.forget?.();
    this.worker?.terminate();
  }
}
