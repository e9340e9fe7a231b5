"""The benchmarks of speed measure equal work, and see what they are to see; at toy size."""

import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from diswot.commands import compose
from diswot.scoring.setup import Setup

ROOT = Path(__file__).parents[2]
CELLS = ("diswot", "nwot", "snip", "grad_norm", "synflow")
SEARCH = """
import subprocess, sys, time
from pathlib import Path

busy = "import time\\nwhile True: time.sleep(0.01)"
workers = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(2)]
with Path(sys.argv[1]).open("w") as journal:
    for _ in range(15):
        print("{}", file=journal, flush=True)
        time.sleep(0.1)
for worker in workers:
    worker.kill()
    worker.wait()
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module


@cache
def toy(space: str, *proxies: str) -> Setup:
    words = [f"space={space}", "teacher=resnet8", f"proxy=[{','.join(proxies)}]"]
    words += ["data.batch_size=16", *(["space.cells=1"] if space == "nasbench201" else [])]
    return Setup.from_config({**compose("search", words, None), "device": "cpu"})


@pytest.mark.parametrize("name", CELLS)
def test_the_published_way_computes_the_same_score(
    script: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = script("published")
    setup = toy("nasbench201", *CELLS)
    way = published.Published(setup, name, 1)
    archs = published.candidates(setup, 2)
    assert way.check(archs) < 1e-5
    assert way.run(archs).cpu > 0
    real = published.PUBLISHED[name]
    monkeypatch.setitem(published.PUBLISHED, name, lambda **given: 1.01 * real(**given))
    with pytest.raises(AssertionError, match=name):
        way.check(archs[:1])


def test_both_ways_are_in_the_table(script: Any) -> None:
    (line,) = script("published").compare("s0", 2, 1, 1, "resnet8")
    name, *cells = line.strip("| ").split(" | ")
    assert name == "diswot"
    assert len(cells) == 6
    assert all(float(number) > 0 for cell in cells for number in cell.split(" / "))


def test_convolutions_are_a_part_of_a_scoring(script: Any, tmp_path: Path) -> None:
    limit = script("limit")
    setup = toy("s0", "diswot")
    arch = next(iter(setup.space.enumerate()))
    limit.timed(setup.scorer, arch)  # the first of a process loads much
    timed = limit.timed(setup.scorer, arch)
    assert timed.gmacs == pytest.approx(16 * setup.scorer.costs().flops(arch) / 1e9)
    assert 0.01 < timed.share < 1
    assert 0 < timed.rate < 10 * limit.matrix_rate(512)
    limit.draw([timed, limit.Timed(2.0, 3.0, 1.0)], 40.0, tmp_path / "limit.png")
    assert (tmp_path / "limit.png").stat().st_size > 1000


def test_a_search_is_watched(script: Any, tmp_path: Path) -> None:
    long_search = script("long_search")
    words = [sys.executable, "-c", SEARCH, str(tmp_path / "candidates.jsonl")]
    samples = long_search.watch(words, tmp_path, 2)
    counts = [sample.candidates for sample in samples]
    assert counts == sorted(counts)
    assert 10 < counts[-1] <= 15
    assert all(1 < sample.search < 100 < 1000 * sample.workers for sample in samples)
    with pytest.raises(AssertionError, match="ended with 3"):
        long_search.watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "none", 2)


def test_what_grows_is_seen(script: Any, tmp_path: Path) -> None:
    long_search = script("long_search")
    sample = long_search.Sample
    flat = [sample(n, 0.002 * n, 300.0, 500.0) for n in range(1, 102)]
    growing = [sample(n, 0.001 * n**2, 300.0 + n, 500.0) for n in range(1, 102)]
    _, each, memory = long_search.course(flat)
    assert list(each) == pytest.approx([2.0] * long_search.MOMENTS)
    assert set(memory) == {800.0}
    _, each, memory = long_search.course(growing)
    assert each[-1] > 20 * each[0]
    assert memory[-1] - memory[0] == pytest.approx(95)
    long_search.draw({"flat": flat, "growing": growing}, tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["params", "nwot"])
def test_the_commands_are_what_the_tool_takes(script: Any, name: str, tmp_path: Path) -> None:
    _, module, command, *words = script("long_search").command(name, 7, tmp_path)
    assert (module, command) == ("-m", "diswot.search")
    config = compose("search", words[:-1], None)
    assert config["strategy"]["evaluations"] == 7
    assert list(config["proxy"]) == [name]
    Setup.from_config({**config, "device": "cpu"})
