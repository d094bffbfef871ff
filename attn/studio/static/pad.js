/**
 * Pads draw at the first stroke, as Gradio's begins with no tool in hand, say what they cannot take, and tell the page
 * of strokes: Gradio's own event would send each picture to a door that is closed here.
 */
const begun = new WeakSet();
const MOST_BYTES = 8 * 2 ** 20;

function begin() {
  for (const brush of document.querySelectorAll('.pad button[aria-label="Brush"]')) {
    if (begun.has(brush)) continue;
    begun.add(brush);
    /** @type {HTMLElement} */ (brush).click();
  }
}

/**
 * Write a line below the pad.
 * @param {Element} pad
 * @param {string} text empty where nothing is wrong
 */
function tell(pad, text) {
  const below = pad.nextElementSibling;
  const line = below?.matches(".refusal") ? below : document.createElement("p");
  line.className = "refusal";
  line.setAttribute("role", "alert");
  line.textContent = text;
  pad.after(line);
}

/**
 * Stop a file that is too large, and name one that is no picture, of which Gradio says nothing.
 * @param {Event} event of a file that was picked, or dropped onto the pad
 */
async function check(event) {
  const { target } = event;
  const pad = target instanceof Element && target.closest(".pad");
  const files = event instanceof DragEvent ? event.dataTransfer?.files : /** @type {HTMLInputElement} */ (target).files;
  const file = files?.[0];
  if (!pad || !file) return;
  tell(pad, "");
  if (file.size > MOST_BYTES) {
    event.stopImmediatePropagation();
    event.preventDefault();
    tell(pad, `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB; a picture may have 8 MB.`);
    return;
  }
  try {
    (await createImageBitmap(file)).close();
  } catch {
    tell(pad, `${file.name} is no picture that the browser can read: give a PNG or JPEG.`);
  }
}

let isHeld = false;

/**
 * Tell the page that a pad may hold something else, once the pad has dealt with the event.
 * @param {Event} event of a pointer, whose stroke may end outside, or of a button that a key pressed
 */
function hear({ type, target, isTrusted }) {
  if (!isTrusted) return; // our own
  const isInside = target instanceof Element && target.closest(".pad") !== null;
  if (isInside || isHeld) setTimeout(() => /** @type {HTMLElement?} */ (document.querySelector(".pad-drawn"))?.click());
  isHeld = type === "pointerdown" && isInside;
}

for (const kind of ["pointerdown", "pointerup", "click"]) document.addEventListener(kind, hear, true);
for (const kind of ["change", "drop"]) document.addEventListener(kind, check, true);
new MutationObserver(begin).observe(document.documentElement, { childList: true, subtree: true });
begin();
