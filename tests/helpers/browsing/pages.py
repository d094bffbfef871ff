"""How the page writes numbers, and what a test does with a page: point, and save."""

HOSTILE = '</script><img src=x onerror="document.title=1">\u202egnp.evil'
"""A text that must stay a text, in prompts, tokens, names and answers."""


def percent(value):
    """Write an amount as the page does."""
    digits = 1 if 100 * value >= 9.995 else 2 if 100 * value >= 0.0995 else 3
    return f"{100 * value:.{digits}f} %"


def points(value):
    """Write a change as the page does."""
    digits = 1 if abs(value) >= 0.09995 else 2 if abs(value) >= 0.000995 else 3
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}{abs(100 * value):.{digits}f}"


def point(page, shown, row, column, grid):
    """Move the pointer to the middle of a cell of what is shown; return where that is."""
    box = (page.locator(shown) if isinstance(shown, str) else shown).bounding_box()
    at = (
        box["x"] + box["width"] * (column + 0.5) / grid[1],
        box["y"] + box["height"] * (row + 0.5) / grid[0],
    )
    page.mouse.move(*at)
    return at


def saved(page, buttons, names=("PNG", "SVG", "CSV")):
    """Press the buttons that save a figure, and return their files; pictures are such."""
    files = {}
    for name in names:
        with page.expect_download() as saving:
            page.locator(buttons).locator(f"button:text-is('{name}')").click()
        files[name] = saving.value.path().read_bytes()
    assert (files["PNG"][:4], files["SVG"][:4]) == (b"\x89PNG", b"<svg")
    return files


def require_seen_within(page, selector, milliseconds, rounds=3):
    """Require that something is seen so early after a page's start, in one of a few rounds."""
    times = []
    for _ in range(rounds):
        page.wait_for_selector(selector)
        times.append(page.evaluate("performance.now()"))
        if times[-1] < milliseconds:
            return
        page.reload()
    raise AssertionError(f"{selector} was seen after {times} ms, not within {milliseconds}")
