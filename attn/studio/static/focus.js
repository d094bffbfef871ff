/** A button that was pressed by a key and is off now hands the focus on: to the next of *Run* and *Cancel* that is on. */
let last = /** @type {Element?} */ (null);

function hand() {
  const isLost = document.activeElement === document.body && last instanceof HTMLButtonElement && last.disabled;
  if (isLost) /** @type {HTMLElement?} */ (document.querySelector("button.turn:enabled"))?.focus();
}

document.addEventListener("focusin", ({ target }) => {
  last = target instanceof Element ? target : null;
});
document.addEventListener("pointerdown", () => {
  last = null; // who points elsewhere has no use for a focus
});
new MutationObserver(hand).observe(document.documentElement, { subtree: true, attributeFilter: ["disabled"] });
