"""What every logger keeps to; members are found by listing."""

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lightning.pytorch import loggers as _  # noqa: F401  (sets variables of its own)
from logger_helpers import MEMBERS, SEARCH, Pair
from PIL import Image

from diswot.commands import compose
from diswot.loggers import LoggedRun, Loggers


def config(*words: str) -> dict[str, Any]:
    return compose("search", [*SEARCH, *words], None)


def children() -> set[str]:
    """Processes that this one has started and that still live."""
    threads = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {child for thread in threads for child in thread.read_text().split()}


def process() -> tuple[object, ...]:
    hooks = sys.exit, sys.excepthook, signal.getsignal(signal.SIGINT)
    return *hooks, signal.getsignal(signal.SIGTERM), dict(os.environ), sys.stdout, sys.stderr


@pytest.mark.parametrize("member", MEMBERS)
def test_a_life_and_another(member: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, alive = process(), children()
    table = pd.DataFrame({"arch": ["s0:1|2", 'nasty,\n"x"'], "score": [math.pi, None]})
    path = tmp_path / "run"
    path.mkdir()
    Image.new("RGB", (4, 3), "red").save(picture := tmp_path / "dot.png")
    run = LoggedRun("search", path, config(f"logger={member}"), "evaluated", "runs/sweep")
    with Loggers(run, quiet=True) as loggers:
        loggers.start()
        loggers.log({"best": 1.5, "none": None, "wild": math.nan}, 10)
        loggers.log({"best": 2.5}, 20)
        loggers.finished({"score": 2.5, "top": [], "versions": {}}, [picture], {"all": table})
    (path / "config.json").write_text("{}")  # as a run that has begun
    with pytest.raises(KeyboardInterrupt):
        _stopped(run)
    assert process() == before
    assert children() == alive
    assert {each.name for each in tmp_path.iterdir()} == {"run", "dot.png"}
    assert not any(capfd.readouterr())


@pytest.mark.parametrize("member", MEMBERS)
def test_nothing_is_left_where_nothing_begins(member: str, tmp_path: Path) -> None:
    run = LoggedRun("search", tmp_path, config(f"logger={member}"), "evaluated")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(KeyboardInterrupt), Loggers(run, quiet=True):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        _stopped(run)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def _stopped(run: LoggedRun) -> None:
    with Loggers(run, quiet=True) as loggers:
        loggers.start()
        if (run.path / "config.json").exists():
            loggers.log({"best": 3.5, "new": 1.0}, 30)
        raise KeyboardInterrupt


def test_yaml() -> None:
    assert config()["logger"] == config("logger=none")["logger"] == {}
    nodes = config("logger=all")["logger"]
    assert set(nodes) == set(MEMBERS)
    for member in MEMBERS:
        assert config(f"logger={member}")["logger"] == {member: nodes[member]}
        assert nodes[member]["_target_"].startswith("lightning.pytorch.loggers.")


@pytest.mark.parametrize(
    ("run", "journal", "count"),
    [("searched", "candidates", 25), ("trained", "epochs", 3), ("ranked", "scores", 8)],
)
def test_a_run_is_the_same_with_and_without(
    run: str, journal: str, count: int, request: pytest.FixtureRequest
) -> None:
    pair: Pair = request.getfixturevalue(run)
    logged, plain = (_journal(path / f"{journal}.jsonl") for path in (pair.logged, pair.plain))
    assert logged == plain
    assert len(logged) == count
    assert _result(pair.logged) == _result(pair.plain)
    if run == "trained":
        weights = [path / "student.safetensors" for path in (pair.logged, pair.plain)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def _journal(file: Path) -> list[dict[str, Any]]:
    timed = ("seconds", "images_per_second", "crc32")
    lines = (json.loads(line) for line in file.read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in timed} for line in lines]


def _result(path: Path) -> dict[str, Any]:
    result = json.loads((path / "result.json").read_text())
    return {k: v for k, v in result.items() if "second" not in k}
