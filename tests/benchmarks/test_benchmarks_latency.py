"""The benchmark of measured latencies prints what its numbers are."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("latency")


def test_repeatability(script: Any) -> None:
    rho, variation = script.repeatability([1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert (rho, variation) == (1, 0)
    rho, variation = script.repeatability([1.0, 2.0, 4.0], [3.0, 2.0, 1.0])
    assert rho == -1
    assert variation == pytest.approx((2**0.5 / 2 + 0 + 3 / 2**0.5 / 2.5) / 3)


def test_what_it_prints(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["latency.repeats=2", "latency.warmup=1", "data=gaussian", "data.image_size=8"]
    script.main(["--space", "s0", "--archs", "4", *small])
    shown = capsys.readouterr().out
    assert shown.startswith(
        "4 architectures of s0, batch 1, 1 thread, median CPU time of 2 passes, load "
    )
    assert len(re.findall(r"Spearman -?[01]\.\d{3}", shown)) == 3
    assert re.search(r"coefficient of variation \d+\.\d%", shown)
