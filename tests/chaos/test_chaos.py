"""A small part of ``python tests/chaos``: a search that is killed, or whose disk fails."""

from contextlib import AbstractContextManager
from errno import EIO, ENOSPC
from random import Random
from unittest.mock import patch

import pytest
from chaos_faults import Disk, Step
from chaos_runs import left, run
from chaos_trials import Runs, Tally, killed_at_random, refusal


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs("small", tmp_path_factory.mktemp("chaos"))


def test_kills_at_any_time(runs: Runs) -> None:
    tally = next(killed_at_random(runs, 1, Random(1)))
    assert (tally.finished, tally.problems) == (1, [])


LINE, RESULT = Step("write", "run/candidates.jsonl"), Step("replace", "run/result.json")
LOCK = Step("write", "run/run.lock")
STATE, CONFIG = Step("replace", "run/state.json"), Step("fsync", "run/.config.json.tmp")


@pytest.mark.parametrize(("step", "half"), [(LINE, True), (STATE, False), (RESULT, False)])
def test_kills_between_the_calls_of_a_file(runs: Runs, step: Step, half: bool) -> None:
    tally, folder = Tally("search", "kill"), runs.fresh()
    at = max(place for place, each in enumerate(runs.steps) if each == step)
    assert run(runs.words, folder, around=Disk(folder, at, half=half).watched()).code == -9
    if half:
        text = (folder / "run/candidates.jsonl").read_bytes()
        assert not text.endswith(b"\n")
    runs.finish(folder, tally, str(step))
    assert tally.problems == []


@pytest.mark.parametrize(
    ("step", "error", "lasting"),
    [(LINE, ENOSPC, True), (LOCK, ENOSPC, True), (CONFIG, EIO, False), (STATE, EIO, False)],
)
def test_a_disk_that_fails(runs: Runs, step: Step, error: int, lasting: bool) -> None:
    tally, folder = Tally("search", "error"), runs.fresh()
    disk = Disk(folder, runs.steps.index(step), error, lasting=lasting)
    assert list(refusal(run(runs.words, folder, around=disk.watched()), error, folder)) == []
    runs.finish(folder, tally, str(step))
    assert tally.problems == []


def clock_set_back() -> AbstractContextManager[object]:
    """Each time it is asked the hour is earlier."""
    hours = iter(range(10**6, 0, -1))
    return patch("time.time", lambda: 3600.0 * next(hours))


def test_a_clock_that_is_set_back(runs: Runs) -> None:
    folder = runs.fresh()
    assert run(runs.words, folder, killed_after=runs.ended.seconds / 2).code in (-9, 0)
    assert run(runs.words, folder, around=clock_set_back()).code == 0
    assert left(folder) == runs.whole
