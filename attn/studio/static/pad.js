/** Pads draw at the first stroke, as Gradio's begins with no tool in hand, and say what they cannot take. */
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

for (const kind of ["change", "drop"]) document.addEventListener(kind, check, true);
new MutationObserver(begin).observe(document.documentElement, { childList: true, subtree: true });
begin();
