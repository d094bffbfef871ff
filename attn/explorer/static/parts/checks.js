import { lookAgain } from "../frame.js";
import { html, useEffect, useState } from "../vendor/preact.js";

const PACE = 700; // milliseconds between looks at what was checked
const REST = 2000; // milliseconds between looks at whether it is still there

/**
 * What the server says of something that is open.
 * @typedef {object} Checks
 * @property {number} files      of a trace
 * @property {number} checked    of them
 * @property {string[]} damaged  why some are not as they were written
 * @property {string} version
 * @property {string} lost       why what is shown is not there any more
 */

/**
 * Look at something again and again while it is open: how many of its files were checked, and whether
 * it is still what was opened.
 * @param {import("../data/source.js").Source} source
 * @param {string} status   of a trace; one that is not finished changes
 * @param {any} [opened]    another one is looked at anew
 * @returns {Checks | null} null until something is known
 */
export function useChecks(source, status, opened) {
  const [checks, setChecks] = useState(/** @type {Checks | null} */ (null));
  useEffect(() => {
    if (!source.base) return;
    let end = () => {};
    let isOver = false;
    let version = "";
    const look = async () => {
      const now = await source.json("checked").catch((/** @type {Error} */ { message }) => ({
        lost: message.replace(/^checked cannot be read: /, ""),
      }));
      if (isOver) return;
      version ||= now.version ?? "";
      const isOther = status !== "partial" && now.version && now.version !== version;
      setChecks(isOther ? { ...now, lost: "it was written again while it was open: reload the page" } : now);
      end = lookAgain(look, now.checked < now.files ? PACE : REST, Boolean(now.lost));
    };
    void look();
    return () => {
      isOver = true;
      end();
    };
  }, [source, status, opened]);
  return checks;
}

/** Mark all that is shown, once it is not there any more, or not all of it could be read. @param {string | undefined} lost @param {string | undefined} error */
export function useMark(lost, error) {
  const mark = lost ? "lost" : error ? "unread" : "";
  useEffect(() => {
    if (!mark) return;
    const { dataset } = /** @type {HTMLElement} */ (document.getElementById("screen"));
    dataset.mark = mark;
    return () => {
      delete dataset.mark;
    };
  }, [mark]);
}

/** Says of something that it is not there any more. @param {{label: string, source: import("../data/source.js").Source, status: string, error?: string}} props */
export function Lost({ label, source, status, error }) {
  const lost = useChecks(source, status)?.lost;
  useMark(lost, error);
  return lost ? html`<p class="notices"><bdi>${`${label} is shown as it was read: ${lost}`}</bdi></p>` : null;
}
