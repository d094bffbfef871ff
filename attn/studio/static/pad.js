/** Pads draw at the first stroke: Gradio's begins with no tool in hand. */
const chosen = new WeakSet();

function choose() {
  for (const brush of document.querySelectorAll('.pad button[aria-label="Brush"]')) {
    if (chosen.has(brush)) continue;
    chosen.add(brush);
    brush.click();
  }
}

new MutationObserver(choose).observe(document.documentElement, { childList: true, subtree: true });
choose();
