"""Scoring in several processes gives what one gives, and outlives the death of any."""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diswot.errors import UserError
from diswot.scoring import pool as pool_module
from diswot.scoring.pool import scoring_pool
from diswot.scoring.scorer import Measurement, Scorer
from diswot.scoring.setup import Setup, worker_count
from diswot.spaces import Arch
from diswot.spaces.s0 import S0

TEXTS = ("s0:1-1-1", "s0:3-1-1", "s0:1-3-1", "s0:1-1-3", "s0:3-3-1", "s0:1-3-3")

FATAL = '''
import os

from diswot.errors import UserError
from diswot.spaces.s0 import S0


class Fatal(S0):
    """One architecture ends its process, one cannot be."""

    def build(self, arch, **settings):
        if str(arch) == "s0:7-7-7":
            os._exit(3)
        if str(arch) == "s0:5-5-5":
            raise UserError("s0:5-5-5 cannot be")
        return super().build(arch, **settings)
'''


@pytest.fixture(scope="module")
def scorer(setup_of: Callable[..., Setup]) -> Scorer:
    return setup_of("space=s0", "proxy=[diswot,nwot]").scorer


@pytest.fixture(scope="module")
def expected(scorer: Scorer) -> list[Any]:
    return [bits(scorer.measure(arch)) for arch in archs(scorer)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[pool_module._Worker]:
    """All processes a pool starts, in order."""
    found: list[pool_module._Worker] = []

    class Noted(pool_module._Worker):
        def __init__(self) -> None:
            super().__init__()
            found.append(self)

    monkeypatch.setattr(pool_module, "_Worker", Noted)
    return found


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A space of a user's own module."""
    (tmp_path / "diswot_test_fatal.py").write_text(FATAL)
    monkeypatch.syspath_prepend(tmp_path)
    import diswot_test_fatal  # type: ignore[import-not-found]

    yield diswot_test_fatal.Fatal
    del sys.modules["diswot_test_fatal"]


def archs(scorer: Scorer) -> list[Arch]:
    return [scorer.space.parse(text) for text in TEXTS]


def bits(found: Measurement) -> tuple[Any, ...]:
    parts = {
        proxy: {part: value.hex() for part, value in parts.items()}
        for proxy, parts in found.parts.items()
    }
    return found.arch, parts, found.failures, found.cost


def settings() -> dict[str, Any]:
    return {"name": "s0", "depths": [1, 3, 5, 7], "widths": [16, 16, 32, 64]}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_equal_bits_in_ask_order(
    scorer: Scorer, expected: list[Any], workers: int, started: list[pool_module._Worker]
) -> None:
    with scoring_pool(scorer, workers) as measure:
        first = [bits(found) for found in measure(archs(scorer)[:4])]
        rest = [bits(found) for found in measure(archs(scorer)[4:])]
        assert list(measure([])) == []
    assert first + rest == expected
    assert len(started) == (0 if workers == 1 else workers)
    assert all(worker.process.returncode is not None for worker in started)


def test_a_killed_worker_is_replaced(
    scorer: Scorer, expected: list[Any], started: list[pool_module._Worker]
) -> None:
    with scoring_pool(scorer, 2) as measure:
        found = []
        for measurement in measure(archs(scorer)):
            if not found:
                os.kill(started[0].process.pid, signal.SIGKILL)
            found.append(bits(measurement))
        # The one that idles dies too, and the next generation comes.
        os.kill(started[1].process.pid, signal.SIGKILL)
        started[1].process.wait()
        found += [bits(measurement) for measurement in measure(archs(scorer)[:2])]
    assert found == expected + expected[:2]
    assert len(started) == 4
    assert started[0].process.returncode == -signal.SIGKILL


def test_a_candidate_that_kills_its_process_is_a_record(
    scorer: Scorer, expected: list[Any], plug_in: type, started: list[pool_module._Worker]
) -> None:
    fatal = replace(scorer, space=plug_in(**settings()))
    with scoring_pool(fatal, 2) as measure:
        asked = [*archs(fatal)[:2], fatal.space.parse("s0:7-7-7"), archs(fatal)[2]]
        first, second, lost, third = measure(asked)
        assert [bits(found) for found in (first, second, third)] == expected[:3]
        assert lost.arch == "s0:7-7-7"
        assert lost.parts == {}
        assert lost.cost is None
        assert ["exit status 3" in why for why in lost.failures.values()] == [True]
        assert len(started) == 4
        with pytest.raises(UserError, match="s0:5-5-5 cannot be"):
            list(measure([fatal.space.parse("s0:5-5-5")]))
    assert all(worker.process.returncode is not None for worker in started)


def test_a_class_that_only_this_process_sees_is_named(
    scorer: Scorer, started: list[pool_module._Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = types.ModuleType("diswot_test_script")
    exec("from diswot.spaces.s0 import S0\nclass Mine(S0): pass", script.__dict__)
    monkeypatch.setitem(sys.modules, script.__name__, script)
    mine = replace(scorer, space=script.Mine(**settings()))
    with (
        pytest.raises(UserError, match=r"workers=2: .*diswot_test_script.*workers=1") as caught,
        scoring_pool(mine, 2) as measure,
    ):
        list(measure(archs(scorer)[:2]))
    assert "\n" not in str(caught.value)
    assert all(worker.process.returncode is not None for worker in started)


def test_a_class_that_cannot_be_sent_is_named(scorer: Scorer) -> None:
    class Local(S0):
        pass

    local = replace(scorer, space=Local(**settings()))
    with pytest.raises(UserError, match="workers=1"), scoring_pool(local, 2):
        pass


def test_workers_end_with_an_error_of_the_search(
    scorer: Scorer, started: list[pool_module._Worker]
) -> None:
    def search() -> None:
        with scoring_pool(scorer, 2) as measure:
            list(measure(archs(scorer)[:1]))
            raise KeyError("the search")

    with pytest.raises(KeyError):
        search()
    assert len(started) == 1
    assert started[0].process.returncode is not None


@pytest.mark.parametrize(
    ("asked", "count"), [("1", 1), ("999", 2), ("", 2), ("nonsense", 2), ("0", 2)]
)
def test_workers_are_the_cores_a_job_may_use(
    asked: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert worker_count({"workers": None, "device": "cpu"}) == count
    assert worker_count({"workers": 5, "device": "cpu"}) == 5
    assert worker_count({"workers": None, "device": "cuda"}) == 1
