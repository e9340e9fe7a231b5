"""Ctrl-C and kills of a real search."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from cli_helpers import SLOW, journal, outcome, started, wait, whole_lines

from diswot.commands import compose
from diswot.search import run_search


def workers_of(pid: int) -> list[int]:
    """Scoring processes of a search."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"diswot.scoring.pool" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ended(pids: list[int], within: float) -> bool:
    def alive(pid: int) -> bool:
        try:
            return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same search, run at one go and with one worker."""
    path = tmp_path_factory.mktemp("undisturbed")
    run_search(compose("search", [*SLOW, "workers=1"], None), path, quiet=True)
    return path


@pytest.mark.slow
def test_kill(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    draw = random.Random(7)
    for _ in range(3):
        with started(tmp_path, "search", *SLOW, "hydra.run.dir=run") as process:
            before = whole_lines(run)
            wait(process, lambda: whole_lines(run), before + draw.randint(1, 9))
            workers = workers_of(process.pid)
            time.sleep(draw.random() / 10)
            process.kill()
        assert len(workers) == 2
        assert ended(workers, within=20)
        assert not (run / "result.json").exists()
    with started(tmp_path, "search", *SLOW, "hydra.run.dir=run") as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Going on: " in err
    assert outcome(run) == outcome(undisturbed)


@pytest.mark.slow
def test_ctrl_c(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    with started(tmp_path, "search", *SLOW, "hydra.run.dir=run") as process:
        wait(process, lambda: whole_lines(run), 7)
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # the group, as a terminal does
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"Stopped; what was scored is kept in {run}. The same command goes on" in err
    assert ended(workers, within=1)
    assert not list(run.glob(".*"))
    kept = journal(run)
    whole = journal(undisturbed)
    assert 7 <= len(kept) < len(whole)
    assert kept == whole[: len(kept)]
    run_search(compose("search", SLOW, None), run, quiet=True)
    assert outcome(run) == outcome(undisturbed)
