/**
 * Files for the pad: what the browser can read is sent as a PNG of a size that the pad has use for, and of all else is
 * said below the pad what is wrong. Gradio alone sends anything, and says nothing of an answer that is no.
 */
const MOST_BYTES = 8 * 2 ** 20;
const SIDE = 1024; // pixels; the pad has fewer
const given = new WeakSet(); // events of ours

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
 * Return a picture as PNG, as large as is needed.
 * @param {File} file
 * @returns {Promise<File>}
 */
async function drawn(file) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return new File([blob], "drawing.png", { type: "image/png" });
}

/**
 * Give a file to Gradio in the way in which it came.
 * @param {Event} event
 * @param {File} file
 */
function give(event, file) {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(file);
  const { target, type } = event;
  if (type === "change") /** @type {HTMLInputElement} */ (target).files = dataTransfer.files;
  const again =
    type === "change"
      ? new Event(type, { bubbles: true })
      : new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer });
  given.add(again);
  target?.dispatchEvent(again);
}

/**
 * Hold a file back that was picked, or dropped onto the pad, until it is known what is in it.
 * @param {Event} event
 */
async function check(event) {
  if (given.has(event)) return;
  const { target } = event;
  const pad = target instanceof Element && target.closest(".pad");
  const files = event instanceof DragEvent ? event.dataTransfer?.files : /** @type {HTMLInputElement} */ (target).files;
  const file = files?.[0];
  if (!pad || !file) return;
  event.stopImmediatePropagation();
  event.preventDefault();
  tell(pad, "");
  if (file.size > MOST_BYTES) {
    tell(pad, `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB; a picture may have 8 MB.`);
    return;
  }
  try {
    give(event, await drawn(file));
  } catch {
    tell(pad, `${file.name} is no picture that the browser can read: give a PNG or JPEG.`);
  }
}

for (const kind of ["change", "drop"]) document.addEventListener(kind, check, true);
