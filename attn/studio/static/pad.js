/**
 * Pads draw at the first stroke, as Gradio's begins with no tool in hand, and tell the page of strokes: Gradio's own
 * event would send each picture to a door that is closed here.
 */
const begun = new WeakSet();

function begin() {
  for (const brush of document.querySelectorAll('.pad button[aria-label="Brush"]')) {
    if (begun.has(brush)) continue;
    begun.add(brush);
    /** @type {HTMLElement} */ (brush).click();
  }
}

let isHeld = false;

/** Tell the page that a pad may hold something else, once the pad has dealt with the event. */
function tell() {
  takePlanAway();
  setTimeout(() => /** @type {HTMLElement?} */ (document.querySelector(".pad-drawn"))?.click());
}

/** @param {Event} event */
const isInside = ({ target }) => target instanceof Element && target.closest(".pad") !== null;

/** Say at once that the plan is made anew: the pad is busy with the stroke for a while, and Gradio with the pad. */
function takePlanAway() {
  const plan = /** @type {HTMLTextAreaElement?} */ (document.querySelector(".plan textarea"));
  if (!plan) return;
  plan.value = "Planning …";
  plan.dispatchEvent(new Event("input", { bubbles: true })); // Gradio is to know what it shows
}

/** Hear of a stroke, which may end outside, and of a button that is pressed, by a key too. @param {Event} event */
function hear(event) {
  if (event.type === "pointerdown") isHeld = isInside(event);
  else if (event.type === "pointerup" ? isHeld : event.isTrusted && isInside(event)) tell();
}

for (const kind of ["pointerdown", "pointerup", "click"]) document.addEventListener(kind, hear, true);
new MutationObserver(begin).observe(document.documentElement, { childList: true, subtree: true });
begin();
