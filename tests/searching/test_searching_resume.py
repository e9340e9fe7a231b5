"""A search that was stopped anywhere ends as one that was not."""

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from searching_helpers import CHEAP, REAL, configured, outcome, searched

from diswot.errors import UserError
from diswot.runs import RunDir
from diswot.search import run_search

Json = dict[str, Any]
EVOLUTION = [*REAL, "strategy.population=4"]
ZSCORE = [*REAL, "proxy.diswot.combine=zscore"]
KINDS = {
    "evolution": EVOLUTION,
    "zscore": [*ZSCORE, "strategy.population=4"],
    "aging": [*EVOLUTION, "proxy.diswot.combine=rank", "strategy=aging_evolution"],
    "ensemble": [*EVOLUTION, "proxy=ensemble", "proxy.ensemble.members=[params,relation]"],
    "exhaustive": [*CHEAP, "strategy=exhaustive", "space.depths=[1,2,3]", "budget.params=2.5e5"],
    "random": CHEAP,
    "screened": [*EVOLUTION, "proxy=[diswot,params]", "screen.proxy=params", "screen.keep=0.5"],
}


@dataclass
class Finished:
    """A finished run, with every state.json it ever had."""

    path: Path
    config: Json
    states: list[bytes]
    outcome: tuple[list[Json], Json]

    def killed(self, path: Path, cut: int, states: int | None = None) -> Path:
        """What a kill leaves after ``cut`` bytes of the journal and some states were written."""
        path.mkdir()
        shutil.copy(self.path / "config.json", path)
        if data := (self.path / "candidates.jsonl").read_bytes()[:cut]:
            (path / "candidates.jsonl").write_bytes(data)
        for state in self.states[:states]:
            if json.loads(state)["journal_bytes"] <= cut:
                (path / "state.json").write_bytes(state)
        return path


def finished(path: Path, monkeypatch: pytest.MonkeyPatch, config: Json) -> Finished:
    states: list[bytes] = []
    real = RunDir.save_state

    def kept(self: RunDir, state: Json) -> None:
        real(self, state)
        states.append((self.path / "state.json").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "save_state", kept)
        return Finished(path, config, states, searched(path, config))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    short = ["strategy.evaluations=9", "strategy.generation=3"]
    whole = finished(tmp_path / "whole", monkeypatch, configured(KINDS[kind], *short))
    assert len(whole.states) == 4  # one before the first generation
    # Any number of whole lines, with a part of the next one or none.
    lines = (whole.path / "candidates.jsonl").read_bytes().splitlines(keepends=True)
    ends = list(accumulate(map(len, lines), initial=0))
    for number, (start, end) in enumerate(pairwise(ends)):
        torn = start + 1 + (end - start - 1) * (number % 7) // 7  # within the line
        cut = torn if number % 2 else start
        path = whole.killed(tmp_path / f"{cut}", cut)
        assert searched(path, whole.config) == whole.outcome, f"cut at {cut}"
        shutil.rmtree(path)
    path = whole.killed(tmp_path / "all", ends[-1])
    assert searched(path, whole.config) == whole.outcome


@pytest.mark.parametrize("kind", ["zscore", "random", "screened"])
def test_killed_between_the_journal_and_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = finished(tmp_path / "whole", monkeypatch, configured(KINDS[kind]))
    length = (whole.path / "candidates.jsonl").stat().st_size
    for states in range(len(whole.states)):
        path = whole.killed(tmp_path / f"{states}", length, states)
        assert searched(path, whole.config) == whole.outcome


@pytest.mark.parametrize("kind", ["evolution", "zscore"])
def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    config = configured(KINDS[kind])
    whole = searched(tmp_path / "whole", config)
    real, path, starts = RunDir.save_state, tmp_path / "often", 0
    while not (path / "result.json").exists():
        starts += 1
        assert starts < 60
        saved: list[int] = []

        def stop(self: RunDir, state: Json, saved: list[int] = saved) -> None:
            if saved:  # the first generation of each start is kept, the second is lost
                raise KeyboardInterrupt
            saved.append(1)
            real(self, state)

        monkeypatch.setattr(RunDir, "save_state", stop)
        with suppress(KeyboardInterrupt):
            run_search(config, path, quiet=True)
    assert starts > 2
    assert outcome(path) == whole


def test_without_its_state_a_search_replays_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[str]
) -> None:
    whole = finished(tmp_path, monkeypatch, configured(REAL))
    last, before = whole.states[-1], (tmp_path / "candidates.jsonl").read_bytes()
    for name in ("state.json", "result.json"):
        (tmp_path / name).unlink()
    measured.clear()
    again = finished(tmp_path, monkeypatch, whole.config)
    assert again.outcome == whole.outcome
    assert measured == []
    assert (tmp_path / "candidates.jsonl").read_bytes() == before
    timeless = [
        {**json.loads(state), "seconds": 0, "crc32": 0} for state in (last, again.states[-1])
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize(
    "base",
    [REAL, ZSCORE, CHEAP, KINDS["screened"]],
    ids=["evolution", "zscore", "random", "screened"],
)
@pytest.mark.parametrize("first", [3, 12, 15])
def test_an_extended_search_is_the_longer_search(
    tmp_path: Path, base: list[str], first: int
) -> None:
    longer = configured(base, "strategy.evaluations=18")
    whole = searched(tmp_path / "whole", longer)
    short = searched(tmp_path / "run", configured(base, f"strategy.evaluations={first}"))
    assert short[0] == whole[0][:first]
    assert short[1]["evaluated"] == first
    assert searched(tmp_path / "run", longer) == whole


def test_seconds_are_summed_over_restarts(tmp_path: Path) -> None:
    first = run_search(configured(CHEAP), tmp_path, quiet=True).seconds
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "seconds": 1000.0}))
    config = configured(CHEAP, "strategy.evaluations=25")
    assert 1000 < run_search(config, tmp_path, quiet=True).seconds < 1000 + first + 60


SWAPPED = r"candidates.jsonl holds s0:\S+ where this search asks"
SHORTER = r"state.json speaks of \d+ bytes .* remove state.json"


def test_a_journal_of_another_search(tmp_path: Path) -> None:
    run_search(configured(CHEAP), tmp_path, quiet=True)
    file = tmp_path / "candidates.jsonl"
    first, second, *others = file.read_bytes().splitlines(keepends=True)
    changed = {
        ("result.json", SHORTER): [first, second, *others[:-1]],
        ("state.json", SWAPPED): [second, first, *others],
    }
    for (without, message), lines in changed.items():
        (tmp_path / without).unlink()
        file.write_bytes(b"".join(lines))
        with pytest.raises(UserError, match=message):
            run_search(configured(CHEAP), tmp_path, quiet=True)


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {"strategy": {"proposals": {"rng": [3, [1, 2], None], "rejected": 0}}},
        {"strategy": {"proposals": {"rng": "x", "rejected": 0}}},
        {"generation": None},
        {"versions": "none"},
    ],
)
def test_a_state_that_is_json_but_no_state(tmp_path: Path, damage: Json | None) -> None:
    run_search(configured(CHEAP), tmp_path, quiet=True)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, **damage} if damage else {}))
    (tmp_path / "result.json").unlink()
    before = (tmp_path / "candidates.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"state.json is damaged .* remove state.json"):
        run_search(configured(CHEAP, "strategy.evaluations=40"), tmp_path, quiet=True)
    assert (tmp_path / "candidates.jsonl").read_bytes() == before
    (tmp_path / "result.json").write_text('{"evaluated": "20"}')
    with pytest.raises(UserError, match=r"result.json is damaged"):
        run_search(configured(CHEAP), tmp_path, quiet=True)
