import { html, useEffect, useRef } from "./vendor/preact.js";

/** @typedef {{keys: string, does: string, run?: (event: KeyboardEvent) => void, match?: string}} Shortcut */

/** What the parts of a screen do by themselves. @type {Shortcut[]} */
export const OWN_KEYS = [
  { keys: "← → ↑ ↓", does: "on the image: move to the next place" },
  { keys: "Shift + arrows", does: "on the image: widen the region" },
  { keys: "Enter", does: "on the image: pin the place; on a word: pin the word" },
  { keys: "↑ ↓ ← →", does: "on a layer: next layer, next head; Enter chooses the layer, h the head" },
];

/**
 * Shortcuts of a screen, and their list behind `?`.
 * @param {{shortcuts: Shortcut[], own?: Shortcut[]}} props  own: of the screen's parts
 */
export function Keys({ shortcuts, own = OWN_KEYS }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const all = useRef(shortcuts);
  all.current = shortcuts;
  useEffect(() => {
    const show = () => {
      if (!dialog.current?.open) dialog.current?.showModal();
    };
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || dialog.current?.open) return;
      if (target.matches("input[type=search], input[type=text], textarea, select") && event.key !== "Escape") return;
      if (event.key === "?") return show();
      const found = all.current.find((one) => (one.match ?? one.keys) === event.key);
      if (!found?.run) return;
      found.run(event);
      event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    window.addEventListener("show-keys", show);
    return () => {
      window.removeEventListener("keydown", onKey);
      window.removeEventListener("show-keys", show);
    };
  }, []);
  return html`<dialog ref=${dialog} class="keys" aria-labelledby="keys-title"><h2 id="keys-title">Keys</h2>
    <dl>${[...own, ...shortcuts].map(({ keys, does }) => html`<dt><kbd>${keys}</kbd></dt><dd>${does}</dd>`)}</dl>
    <form method="dialog"><button>Close</button></form></dialog>`;
}
