/** Pads draw at the first stroke, as Gradio's begins with no tool in hand, and say what they cannot take. */
const chosen = new WeakSet();
const MOST_BYTES = 8 * 2 ** 20;

function choose() {
  for (const brush of document.querySelectorAll('.pad button[aria-label="Brush"]')) {
    if (chosen.has(brush)) continue;
    chosen.add(brush);
    brush.click();
  }
}

/** Write a line below the pad; an empty one takes it away. */
function tell(pad, text) {
  const line = pad.nextElementSibling?.matches(".refusal")
    ? pad.nextElementSibling
    : document.createElement("p");
  line.className = "refusal";
  line.setAttribute("role", "alert");
  line.textContent = text;
  pad.after(line);
}

/** Stop a file that is too large, and name one that is no picture, of which Gradio says nothing. */
async function check(event) {
  const pad = event.target.closest?.(".pad");
  const file = (event.target.files ?? event.dataTransfer?.files)?.[0];
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
new MutationObserver(choose).observe(document.documentElement, { childList: true, subtree: true });
choose();
