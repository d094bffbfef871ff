"""How long the page of a picture takes from a move of the pointer to the words of that place."""

MOVES = """async (count) => {
  const stage = document.getElementById("stage"), box = stage.getBoundingClientRect(), times = [];
  const heading = () => document.querySelector(".words h2").innerText;
  for (let at = 0; at < count; at++) {
    const began = performance.now(), before = heading();
    const where = { clientX: box.x + (box.width * (at + 0.5)) / count,
                    clientY: box.y + (box.height * (((at * 7) % count) + 0.5)) / count };
    stage.dispatchEvent(new PointerEvent("pointermove", { ...where, bubbles: true }));
    while (heading() === before && performance.now() - began < 1000)
      await new Promise((ok) => setTimeout(ok));
    times.push(performance.now() - began);
  }
  return times.sort((a, b) => a - b);
}"""


def hover_times(page, moves):
    """Return milliseconds from each move to its words, sorted."""
    return page.evaluate(MOVES, moves)
