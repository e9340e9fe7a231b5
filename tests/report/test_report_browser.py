"""The page in a headless Chromium."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diswot.report import main

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


@pytest.fixture(scope="module")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of twelve runs."""
    path = tmp_path_factory.mktemp("browser") / "report.html"
    assert main([str(sweep), "--output", str(path)]) == 0
    return path


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Any]:
    """The report, open; at its end nothing was asked for and nothing complained."""
    width, scheme = request.param
    viewport = {"width": width, "height": 800}
    opened = browser.new_page(viewport=viewport, color_scheme=scheme)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url))
    before = time.monotonic()
    opened.goto(report.as_uri())
    print(f"opened in {time.monotonic() - before:.2f} s")  # noqa: T201  (measured, not judged)
    yield opened
    opened.close()
    assert [told for told in said if not told.startswith("data:")] == [report.as_uri()]


def test_nothing_overflows(page: Any) -> None:
    width = page.evaluate("innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_pictures_are_drawn_and_readable(page: Any) -> None:
    sizes = page.eval_on_selector_all(
        ".panels svg",
        "all => all.map(each => [each.clientWidth, each.getBoundingClientRect().height])",
    )
    assert len(sizes) >= 12
    assert all(width > 250 and height > 120 for width, height in sizes)
    ink, paper = page.evaluate(
        "[getComputedStyle(document.querySelector('.panels svg text')).fill,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    assert abs(_light(ink) - _light(paper)) > 120
    broken = "all => all.filter(each => !each.complete || !each.naturalWidth).length"
    assert page.eval_on_selector_all("img", broken) == 0


def _light(color: str) -> float:
    numbers = color.partition("(")[2].rstrip(")").split(",")[:3]
    return sum(map(float, numbers)) / 3


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


def test_names_stay_text(browser: Any, tmp_path: Path, search_run: Path) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    target = tmp_path / evil.replace("/", "_")
    shutil.copytree(search_run, target)
    assert main([str(tmp_path)]) == 0
    page = browser.new_page()
    alerts: list[str] = []
    page.on("dialog", lambda dialog: alerts.append(dialog.message))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.inner_text("h1") == tmp_path.name
    assert evil.replace("/", "_") in page.inner_text("#table-of-runs")
    page.close()
    assert not alerts
