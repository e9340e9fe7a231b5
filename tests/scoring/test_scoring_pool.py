"""Scoring in several processes gives what one gives, and outlives the death of any."""

import os
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from scoring_helpers import bits, s0_scorer

from diswot.errors import UserError
from diswot.scoring import pool
from diswot.scoring.pool import scoring_pool
from diswot.scoring.scorer import Scorer
from diswot.scoring.setup import worker_count
from diswot.spaces.s0 import S0, S0Arch

DEPTHS = ((1, 1, 1), (3, 1, 1), (1, 3, 1), (1, 1, 3), (3, 3, 1), (1, 3, 3))
ARCHS = [S0Arch(depths) for depths in DEPTHS]
SETTINGS: Any = {"name": "s0", "depths": [1, 3, 5, 7], "widths": [16, 16, 32, 64]}
FATAL = '''
import os
import time

from diswot.errors import UserError
from diswot.spaces.s0 import S0


class Fatal(S0):
    """One architecture ends its process, one cannot be, one never ends."""

    def build(self, arch, **settings):
        if str(arch) == "s0:7-7-7":
            os._exit(3)
        if str(arch) == "s0:5-5-5":
            raise UserError("s0:5-5-5 cannot be")
        return super().build(arch, **settings)

    def cost(self, arch, **settings):
        while str(arch) == "s0:3-3-7":
            time.sleep(1)
        return super().cost(arch, **settings)
'''


def scorer() -> Scorer:
    return s0_scorer("proxy=[diswot,nwot]")


@cache
def expected() -> list[Any]:
    return [bits(scorer().measure(arch)) for arch in ARCHS]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[pool.Worker]]:
    """All processes a pool starts, in order; all have ended afterwards."""
    workers: list[pool.Worker] = []

    class Noted(pool.Worker):
        def __init__(self) -> None:
            super().__init__()
            workers.append(self)

    monkeypatch.setattr(pool, "Worker", Noted)
    yield workers
    assert all(worker.process.returncode is not None for worker in workers)


@pytest.fixture
def fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scorer]:
    """With a space of a user's own module."""
    (tmp_path / "diswot_test_fatal.py").write_text(FATAL)
    monkeypatch.syspath_prepend(tmp_path)
    import diswot_test_fatal  # type: ignore[import-not-found]

    yield replace(scorer(), space=diswot_test_fatal.Fatal(**SETTINGS))
    del sys.modules["diswot_test_fatal"]


@pytest.mark.parametrize(("workers", "ahead"), [(1, True), (3, False), (3, True)])
def test_any_number_of_workers_gives_equal_bits_in_ask_order(
    workers: int, ahead: bool, started: list[pool.Worker]
) -> None:
    with scoring_pool(scorer(), workers, ahead=ahead) as measure:
        assert len(started) == (workers if ahead and workers > 1 else 0)
        first, rest = ([*map(bits, measure(part))] for part in (ARCHS[:4], ARCHS[4:]))
        assert list(measure([])) == []
    assert first + rest == expected()
    assert len(started) == (0 if workers == 1 else workers)


def test_a_killed_worker_is_replaced(started: list[pool.Worker]) -> None:
    with scoring_pool(scorer(), 2) as measure:
        scored = []
        for measurement in measure(ARCHS):
            if not scored:
                os.kill(started[0].process.pid, signal.SIGKILL)
            scored.append(bits(measurement))
        # The one that idles dies too, and the next generation comes.
        os.kill(started[1].process.pid, signal.SIGKILL)
        started[1].process.wait()
        scored += map(bits, measure(ARCHS[:2]))
    assert scored == expected() + expected()[:2]
    assert len(started) == 4
    assert started[0].process.returncode == -signal.SIGKILL


def test_a_candidate_that_kills_its_process_is_a_record(
    fatal: Scorer, started: list[pool.Worker]
) -> None:
    with scoring_pool(fatal, 2) as measure:
        first, second, lost, third = measure([*ARCHS[:2], S0Arch((7, 7, 7)), ARCHS[2]])
        assert [*map(bits, (first, second, third))] == expected()[:3]
        assert (lost.arch, lost.parts, lost.cost) == ("s0:7-7-7", {}, None)
        assert ["exit status 3" in reason for reason in lost.failures.values()] == [True]
        assert len(started) == 4
        with pytest.raises(UserError, match="s0:5-5-5 cannot be"):
            list(measure([S0Arch((5, 5, 5))]))


def test_a_candidate_that_hangs_is_a_record(fatal: Scorer, started: list[pool.Worker]) -> None:
    """Also where one process would score, and where nothing needs a network."""
    limited = replace(fatal, proxies=dict(s0_scorer("proxy=[params]").proxies), limit=3.0)
    with scoring_pool(limited, 1) as measure:
        first, lost, second = measure([ARCHS[0], S0Arch((3, 3, 7)), ARCHS[1]])
    assert (first.failures, second.failures) == ({}, {})
    assert (lost.arch, lost.parts, lost.cost) == ("s0:3-3-7", {}, None)
    assert lost.failures == {"*": "no score within candidate_seconds=3"}
    assert lost.seconds >= 3
    assert [worker.process.returncode for worker in started] == [-signal.SIGKILL] * 2


def test_a_limit_is_a_positive_number() -> None:
    assert s0_scorer("proxy=[params]", "candidate_seconds=7").limit == 7
    with pytest.raises(UserError, match="candidate_seconds=0 is not allowed"):
        s0_scorer("proxy=[params]", "candidate_seconds=0")


def test_a_class_that_no_other_process_sees_is_named(
    started: list[pool.Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = types.ModuleType("diswot_test_script")
    exec("from diswot.spaces.s0 import S0\nclass Mine(S0): pass", script.__dict__)
    monkeypatch.setitem(sys.modules, script.__name__, script)
    mine = replace(scorer(), space=script.Mine(**SETTINGS))
    with (
        pytest.raises(UserError, match=r"workers=2: .*diswot_test_script.*workers=1") as caught,
        scoring_pool(mine, 2) as measure,
    ):
        list(measure(ARCHS[:2]))
    assert started
    assert "\n" not in str(caught.value)
    local = replace(scorer(), space=type("Local", (S0,), {})(**SETTINGS))
    with pytest.raises(UserError, match="workers=1"), scoring_pool(local, 2):
        pass


def test_workers_end_with_an_error_of_the_search(started: list[pool.Worker]) -> None:
    with pytest.raises(KeyError), scoring_pool(scorer(), 2) as measure:
        raise KeyError(list(measure(ARCHS[:1])))
    assert len(started) == 1
    with pytest.raises(KeyError), scoring_pool(scorer(), 2, ahead=True):
        raise KeyError
    assert len(started) == 3


def test_workers_are_the_cores_a_job_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    for asked, count in {"1": 1, "999": 2, "": 2, "nonsense": 2, "0": 2}.items():
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
        assert worker_count({"workers": None, "device": "cpu"}) == count
    assert worker_count({"workers": 5, "device": "cpu"}) == 5
    on_gpu = {"workers": None, "device": "cuda"}
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert (worker_count(on_gpu), worker_count(on_gpu, on_gpu=1)) == (4, 1)
