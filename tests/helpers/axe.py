"""Whether a page can be used by everybody, as far as axe can tell."""

from axe_playwright_python.sync_playwright import Axe

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page):
    """Return what axe finds wrong, in light and dark."""
    result = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        answer = Axe().run(page, options={"runOnly": TAGS}).response["violations"]
        result += [
            (scheme, item["id"], [node["html"] for node in item["nodes"]]) for item in answer
        ]
    return result
