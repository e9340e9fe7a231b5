"""A search inside a latency: what is measured once is never another number."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from searching_helpers import CHEAP, configured, journal, outcome, searched

from diswot.keys import stable_hash
from diswot.runs import LatencyRecord, RunDir
from diswot.scoring.latency import MeasuredLatency
from diswot.search import run_search

LIMITED = [*CHEAP, "space.depths=[1,2,3,5]", "budget.latency_ms=5", "budget.params=4e5"]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were measured; what they take, from 1 to 9 ms, depends on the name."""
    names: list[str] = []

    def of(self: MeasuredLatency, name: str, *_: Any) -> LatencyRecord:
        names.append(name)
        return LatencyRecord(name, 1 + stable_hash(name) % 8001 / 1000, 0.1, "a processor")

    monkeypatch.setattr(MeasuredLatency, "of", of)
    return names


def lines(path: Path) -> dict[str, float]:
    text = (path / LatencyRecord.file).read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert len({record["arch"] for record in records}) == len(records)
    return {record["arch"]: record["latency_ms"] for record in records}


def test_a_limit_is_kept_and_shown_wherever_costs_are(tmp_path: Path, timed: list[str]) -> None:
    records, result = searched(tmp_path, configured(LIMITED))
    known = lines(tmp_path)
    assert sorted(timed) == sorted(known)  # each once
    assert max(known.values()) > 5 >= max(record["latency_ms"] for record in records)
    assert all(record["latency_ms"] == known[record["arch"]] for record in records)
    assert result["latency_ms"] == known[result["arch"]] == result["top"][0]["latency_ms"]
    assert result["budget"]["latency_ms"] == 5
    assert result["latency"]["source"].startswith("measured on a processor, batch 1, 1 thread")
    assert result["objectives"] == ["fitness", "params", "latency_ms"]
    head = (tmp_path / "candidates.csv").read_text().splitlines()[0].split(",")
    assert {"latency_ms", "latency_spread_ms", "front"} <= {*head}


def test_a_search_that_is_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
) -> None:
    config = configured(LIMITED)
    whole = searched(tmp_path / "whole", config)
    timed.clear()
    real, path, starts = RunDir.save_state, tmp_path / "often", 0
    while not (path / "result.json").exists():
        starts += 1
        assert starts < 30
        saved: list[int] = []

        def stop(self: RunDir, state: Any, saved: list[int] = saved) -> None:
            if saved:
                raise KeyboardInterrupt
            saved.append(1)
            real(self, state)

        monkeypatch.setattr(RunDir, "save_state", stop)
        with suppress(KeyboardInterrupt):
            run_search(config, path, quiet=True)
    assert starts > 2
    assert outcome(path) == whole
    assert len({*timed}) == len(timed)  # none twice, over all starts


def test_a_replay_measures_nothing_and_takes_the_recorded_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timed: list[str]
) -> None:
    config = configured(LIMITED, "strategy=evolution", "strategy.population=8", "strategy.sample=4")
    whole = searched(tmp_path, config)
    for name in ("state.json", "result.json"):
        (tmp_path / name).unlink()

    def other(self: MeasuredLatency, name: str, *_: Any) -> LatencyRecord:
        raise AssertionError(f"{name} is measured again")

    monkeypatch.setattr(MeasuredLatency, "of", other)
    assert searched(tmp_path, config) == whole


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], False),
        (["latency.always=true"], True),
        (["strategy=nsga2", "strategy.population=5"], False),
        (
            ["strategy=nsga2", "strategy.population=5", "strategy.objectives=[fitness,latency_ms]"],
            True,
        ),
    ],
)
def test_only_what_is_asked_for_is_measured(
    tmp_path: Path, timed: list[str], words: list[str], asked: bool
) -> None:
    records, result = searched(tmp_path, configured(CHEAP, *words))
    assert bool(timed) == asked == (result["latency"] is not None)
    assert all((record["latency_ms"] is not None) == asked for record in records)


def test_a_share_of_the_teacher_and_a_table(tmp_path: Path, timed: list[str]) -> None:
    words = ["teacher=resnet8", "budget=none", "budget.latency_ms=0.9x"]
    _, result = searched(tmp_path / "run", configured(CHEAP, *words))
    teacher = lines(tmp_path / "run")["teacher resnet8"]
    assert result["latency"]["teacher_ms"] == teacher
    assert result["budget"]["latency_ms"] == pytest.approx(0.9 * teacher)
    archs = [f"s0:{a}-{b}-{c}" for a in (1, 2, 3) for b in (1, 2, 3) for c in (1, 2, 3)]
    rows = [f"{arch},{place + 1}" for place, arch in enumerate(archs)]
    (tmp_path / "table.csv").write_text("\n".join(["arch,phone", *rows]))
    table = ["latency=table", f"latency.path={tmp_path}/table.csv", "latency.column=phone"]
    timed.clear()
    _, result = searched(tmp_path / "looked", configured(CHEAP, *table, "budget.latency_ms=9"))
    assert max(archs.index(each["arch"]) for each in result["top"]) < 9
    assert result["latency_ms"] == archs.index(result["arch"]) + 1
    assert (timed, result["latency"]["teacher_ms"], result["latency"]["spread"]) == ([], None, None)
    assert not (tmp_path / "looked" / LatencyRecord.file).exists()


def test_what_the_device_does_not_run_is_inside_no_limit(tmp_path: Path) -> None:
    archs = [f"s0:{a}-{b}-{c}" for a in (1, 2, 3) for b in (1, 2, 3) for c in (1, 2, 3)]
    rows = [f"{arch},{-1 if '2' in arch else 4}" for arch in archs]
    (tmp_path / "table.csv").write_text("\n".join(["arch,phone", *rows]))
    table = ["latency=table", f"latency.path={tmp_path}/table.csv", "latency.column=phone"]
    records, result = searched(tmp_path / "in", configured(CHEAP, *table, "budget.latency_ms=9"))
    assert not any("2" in record["arch"] for record in records)
    records, result = searched(tmp_path / "all", configured(CHEAP, *table))
    assert any("2" in record["arch"] for record in records)
    assert all((record["latency_ms"] is None) == ("2" in record["arch"]) for record in records)
    assert not any("2" in each["arch"] for each in result["front"])


def test_networks_are_really_timed(tmp_path: Path) -> None:
    words = ["latency.always=true", "latency.repeats=3", "strategy.evaluations=2"]
    run_search(configured(CHEAP, *words, "data.image_size=8"), tmp_path, quiet=True)
    assert all(0 < line["latency_ms"] < 1000 for line in journal(tmp_path))
