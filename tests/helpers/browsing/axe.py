"""Whether a page can be used by everybody, as far as axe can tell."""

from axe_playwright_python.sync_playwright import Axe

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""All that can differ between colour schemes."""
SCHEMES = {
    "light": ({"color_scheme": "light"}, {"type": "tag", "values": TAGS}),
    "dark": ({"color_scheme": "dark"}, OF_COLOURS),
    "forced": ({"color_scheme": "dark", "forced_colors": "active"}, OF_COLOURS),
}

SHOWN = """async () => {
  for (let frame = 0; frame < 2; frame++) await new Promise((ok) => requestAnimationFrame(ok));
  const changes = document.getAnimations().filter((item) => item instanceof CSSTransition);
  await Promise.allSettled(changes.map((item) => item.finished));
}"""
"""Comes when colours have changed to those of another scheme."""
RUN = "options => axe.run(document, { ...options, resultTypes: ['violations'] })"


def violations(page):
    """Return what axe finds wrong, in light, dark and forced colours."""
    page.evaluate(Axe().axe_script)
    result = []
    for scheme, (media, rules) in SCHEMES.items():
        page.emulate_media(**media)
        page.evaluate(SHOWN)
        answer = page.evaluate(RUN, {"runOnly": rules})["violations"]
        result += [
            (scheme, item["id"], [node["html"] for node in item["nodes"]]) for item in answer
        ]
    page.emulate_media(color_scheme="light", forced_colors="none")
    return result
