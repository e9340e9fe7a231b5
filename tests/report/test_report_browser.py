"""The page in a headless Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

_SORTED = """(column) => [...document.querySelectorAll('#table-of-runs tbody tr')]
    .map(row => row.cells[column].dataset.sort ?? null)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests here."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no chromium on PATH")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Any]:
    """The report, open; at its end nothing was asked for and nothing complained."""
    width, scheme = request.param
    viewport = {"width": width, "height": 800}
    opened = browser.new_page(viewport=viewport, color_scheme=scheme)
    events: list[str] = []
    opened.on("console", lambda message: events.append(message.text))
    opened.on("pageerror", lambda error: events.append(str(error)))
    opened.on("request", lambda request: events.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert [event for event in events if not event.startswith("data:")] == [report.as_uri()]


def test_nothing_overflows(page: Any) -> None:
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_sizes_are_in_sight_on_a_desk(page: Any) -> None:
    places = "all => all.map(h => [h.innerText.trim(), h.getBoundingClientRect().right])"
    ends = dict(page.eval_on_selector_all("#table-of-runs th", places))
    width = page.evaluate("innerWidth")
    if width >= 1280:
        assert max(ends["params"], ends["MACs"]) < width


def test_pictures_are_drawn_and_readable(page: Any) -> None:
    boxes = "all => all.map(each => each.getBoundingClientRect()).map(b => [b.width, b.height])"
    sizes = page.eval_on_selector_all(".panels svg", boxes)
    assert len(sizes) >= 24
    assert all(width > 250 and height > 120 for width, height in sizes)

    def light(selector: str, key: str) -> float:
        color = page.eval_on_selector(selector, f"each => getComputedStyle(each).{key}")
        return sum(map(float, color.partition("(")[2].rstrip(")").split(",")[:3])) / 3

    text, card = light(".panels svg text", "fill"), light(".panels figure", "backgroundColor")
    assert card - text > 200
    assert abs(light("body", "color") - light("body", "backgroundColor")) > 150


def test_tables_sort_by_keyboard(page: Any) -> None:
    heads = page.eval_on_selector_all("#table-of-runs th", "all => all.map(h => h.innerText)")
    column = next(i for i, head in enumerate(heads) if head.startswith("score"))
    head = page.locator("#table-of-runs th").nth(column)
    for order, reverse in (("ascending", False), ("descending", True)):
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        values = page.evaluate(_SORTED, column)
        known = [float(value) for value in values if value is not None]
        assert len(known) == 6
        assert known == sorted(known, reverse=reverse)
        assert values[6:] == [None] * 6  # what is not known comes last, whichever way
    page.locator("#table-of-runs th button").first.press("Space")
    assert head.get_attribute("aria-sort") is None
    names = page.evaluate(_SORTED, 0)
    assert names == sorted(names)


def test_it_can_be_printed(page: Any) -> None:
    assert page.pdf()[:4] == b"%PDF"
    opened = "all => all.every(each => each.open)"
    assert page.eval_on_selector_all("details.print", opened)
