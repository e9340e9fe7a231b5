"""The benchmark of fronts: what an area is, and that all strategies are compared."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("fronts")


def test_areas(script: Any) -> None:
    """Ranges are 0 to 10 in score and 100 to 200 in cost."""
    ends = [(0.0, 100.0), (10.0, 200.0)]
    areas = script.areas({"ends": ends, "more": [*ends, (5.0, 150.0), (4.0, 160.0)]})
    assert areas["ends"] == pytest.approx(0.1 * 1.1 + 0.1 * 1.1 - 0.1 * 0.1)
    assert areas["more"] == pytest.approx(areas["ends"] + 0.5 * 0.5)


def test_it_prints_every_strategy(
    script: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)
    script.main(["--seeds", "1", "space=s0", "data=gaussian", "strategy.evaluations=8"])
    names = re.findall(
        r"^(\w+) +[01]\.\d{3} ± 0\.000  \([01]\.\d{3}\)$", capsys.readouterr().out, flags=re.M
    )
    assert names == list(script.STRATEGIES)
