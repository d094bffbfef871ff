"""How the page writes numbers, and what a test does with a page: point, save, and wait."""

from time import monotonic, sleep

PATIENCE = 20_000
"""Milliseconds until what does not come is missing: many times what it takes on a busy machine."""

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


def eventually(read, expected):
    """Require that what is read of a page becomes what is expected: its parts come one by one."""
    end = monotonic() + PATIENCE / 1000
    while (got := read()) != expected and monotonic() < end:
        sleep(0.02)
    assert got == expected


def kept_back(page, requests):
    """Return the first request that a test keeps back from the server, once the page made it."""
    eventually(lambda: bool(page.title() and requests), True)
    return requests[0]


SETTLED = """async () => {
  const images = [...document.images].filter((one) => one.loading !== "lazy");
  await Promise.all(images.map((one) => one.decode().catch(() => {})));
  for (let frame = 0; frame < 2; frame++) await new Promise((ok) => requestAnimationFrame(ok));
}"""
"""Comes when all pictures are there, which move what is around them, and the page drew itself."""


def point(page, shown, row, column, grid):
    """Move the pointer to the middle of a cell of what is shown; return where that is."""
    page.evaluate(SETTLED)
    box = (page.locator(shown) if isinstance(shown, str) else shown).bounding_box()
    at = (
        box["x"] + box["width"] * (column + 0.5) / grid[1],
        box["y"] + box["height"] * (row + 0.5) / grid[0],
    )
    page.mouse.move(*at)
    return at


def saved(page, buttons, names=("PNG", "SVG", "CSV")):
    """Press the buttons that save a figure, and return their files; pictures are such."""
    page.evaluate(SETTLED)
    files = {}
    for name in names:
        with page.expect_download() as saving:
            page.locator(buttons).locator(f"button:text-is('{name}')").click()
        files[name] = saving.value.path().read_bytes()
    assert (files["PNG"][:4], files["SVG"][:4]) == (b"\x89PNG", b"<svg")
    return files


def require_fast(measure, milliseconds, rounds=5):
    """Require that something takes less in one of a few rounds: in others the machine is busy."""
    times = []
    while not times or (times[-1] >= milliseconds and len(times) < rounds):
        times.append(measure())
    assert min(times) < milliseconds, times


def require_seen_within(page, selector, milliseconds):
    """Require that something is seen so early after a page's start."""

    def reload():
        page.reload()
        page.wait_for_selector(selector)
        return page.evaluate("performance.now()")

    require_fast(reload, milliseconds)
