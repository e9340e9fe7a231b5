"""Shards of a ranking and their union."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_helpers import TINY, rank, untimed

from diswot.config import conf_dir, known_targets
from diswot.errors import UserError
from diswot.rank import main, merge_shards
from diswot.ranking.shards import Shard
from diswot.runs.lock import RunLock

SETTINGS = ["proxy=[diswot,nwot]", "proxy.diswot.combine=rank", "seeds=2", "control=shuffled"]


@given(st.lists(st.integers()), st.integers(1, 30))
def test_shards_partition_any_list(items: list[int], count: int) -> None:
    shards = [Shard.parse(f"{index}/{count}") for index in range(1, count + 1)]
    parts = [shard.take(items) for shard in shards]
    assert [str(shard) for shard in shards] == [f"{i}/{count}" for i in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert list(Shard.parse(None).take(items)) == items


@pytest.mark.parametrize(
    "text", ["", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "1.0/4", "a/b", 3, "٣/٤"]
)
def test_what_is_no_shard(text: object) -> None:
    with pytest.raises(UserError, match="is not allowed; give i/n with i from 1 to n, as 1/4"):
        Shard.parse(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ranking without shards."""
    path = tmp_path_factory.mktemp("whole")
    rank(path, *SETTINGS)
    return path


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of it, as one sweep leaves them."""
    path = tmp_path_factory.mktemp("sweep") / "parts"
    words = ["-m", *TINY, *SETTINGS, "shard=1/3,2/3,3/3", f"hydra.sweep.dir={path}"]
    assert main(words) == 0
    return path


@pytest.fixture
def parts(sweep: Path, tmp_path: Path) -> Path:
    """A copy of the sweep to spoil."""
    return Path(shutil.copytree(sweep, tmp_path / "parts"))


def merged(folder: Path) -> None:
    merge_shards(folder, known_targets([conf_dir()]), resamples=20, quiet=True)


def refusal(folder: Path) -> str:
    """The message; nothing is written, not even into the shards."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(UserError) as refused:
        merged(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    return str(refused.value)


def shard(folder: Path, index: int) -> Path:
    (found,) = folder.glob(f"*/shard{index}of3")
    return found


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = run / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def test_the_union_is_the_whole(
    parts: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert not list(parts.rglob("rank.csv"))
    monkeypatch.chdir(tmp_path)
    assert main(["merge=parts", "resamples=20"]) == 0
    assert (parts / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert untimed(parts / "rank.csv") == untimed(whole / "rank.csv")
    assert (parts / "rank.png").stat().st_size > 0
    assert "parts/rank.csv" in capfd.readouterr().out
    assert not any(file.is_file() for file in (tmp_path / "runs").rglob("*"))
    assert not list((tmp_path / "runs" / "rank").iterdir())


@pytest.mark.usefixtures("no_picture")
def test_what_lies_beside_the_shards_is_ignored(parts: Path, whole: Path) -> None:
    (parts / "notes.txt").write_text("mine")
    (parts / "config.json").write_text("{")
    (parts / "empty").mkdir()
    (parts / "search").mkdir()
    (parts / "search" / "config.json").write_text("{")
    shutil.copytree(whole, parts / "a-whole-run")
    merged(parts)
    merged(parts)  # its own files do not disturb
    assert (parts / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()


def test_shards_that_are_missing_or_there_twice(parts: Path) -> None:
    shutil.copytree(shard(parts, 1), parts / "copy")
    assert "shard 1/3 is there more than once" in refusal(parts)
    shutil.rmtree(parts / "copy")
    shutil.rmtree(shard(parts, 2))
    assert "shard 2/3 is missing" in refusal(parts)
    edit(shard(parts, 3), lambda config: config.update(shard="2/2"))
    assert "shards of 2 and of 3, such as 1/3 and 2/2" in refusal(parts)


def test_shards_of_different_runs(parts: Path) -> None:
    edit(shard(parts, 2), lambda config: config["data"].update(batch_size=7))
    message = refusal(parts)
    assert "are shards of different runs (data.batch_size: 6 and 7)" in message
    assert shard(parts, 2).name in message
    edit(shard(parts, 2), lambda config: config["data"].update(batch_size=6))
    edit(shard(parts, 3), lambda config: config.update(seeds=5))
    assert "(seeds: 2 and 5)" in refusal(parts)


def test_an_unfinished_shard(parts: Path) -> None:
    file = shard(parts, 2) / "scores.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lost = json.loads(lines[-1])
    file.write_bytes(b"".join(lines[:-1]))
    message = refusal(parts)
    assert f"1 scores are missing, such as {lost['arch']} under seed {lost['seed']}" in message
    assert "a shard has not finished; run its command again" in message


def test_a_shard_at_work_is_left_alone(parts: Path) -> None:
    run = shard(parts, 2)
    with (run / "scores.jsonl").open("ab") as file:
        file.write(b'{"arch":"s0:1')
    lock = RunLock(run / "run.lock")
    lock.acquire()
    message = refusal(parts)
    lock.release()
    assert f"a shard is not finished: {run} is in use by process {os.getpid()} on " in message


def test_no_shards(tmp_path: Path, whole: Path) -> None:
    assert "does not exist; give the folder that holds" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("mine")
    assert "is no folder" in refusal(tmp_path / "file")
    assert "no folder in it holds a shard" in refusal(tmp_path)
    assert "no folder in it holds a shard" in refusal(whole)
    shutil.copytree(whole, tmp_path / "whole")
    assert "no folder in it holds a shard" in refusal(tmp_path)


def test_damaged_configs(parts: Path) -> None:
    edit(shard(parts, 1), lambda config: config.pop("benchmark"))
    assert "is damaged (it lacks benchmark)" in refusal(parts)
    (shard(parts, 1) / "config.json").write_text("[]")
    assert "is damaged (no JSON object)" in refusal(parts)


def hostile(witness: Path) -> dict[str, Callable[[dict[str, Any]], object]]:
    """Ways to have a folder made when objects are built from a config."""
    call = {"_target_": "os.mkdir", "path": str(witness)}
    text = "${oc.create:'{_target_: os.mkdir, path: " + str(witness) + "}'}"
    return {
        "a class": lambda config: config.update(data=call),
        "inside": lambda config: config["proxy"]["nwot"].update(further=[{"deep": call}]),
        "no text": lambda config: config["init"].update(_target_=[call]),
        "a reference": lambda config: config["data"].update(num_classes=text),
        "a reference to a name": lambda config: config["data"].update(
            _target_="${oc.decode:os.mkdir}"
        ),
    }


@pytest.mark.parametrize("way", hostile(Path()))
def test_a_config_executes_nothing(parts: Path, tmp_path: Path, way: str) -> None:
    witness = tmp_path / "ran"
    for index in (1, 2, 3):
        edit(shard(parts, index), hostile(witness)[way])
    message = refusal(parts)
    assert "config.json of " in message
    assert "os.mkdir" in message
    assert not witness.exists()


def test_a_benchmark_file_is_named_by_who_merges(parts: Path) -> None:
    for index in (1, 2, 3):
        edit(shard(parts, index), lambda config: config["benchmark"].update(path="evil.pbz2"))
    message = refusal(parts)
    assert "scored with benchmark.path=evil.pbz2; if you trust that file, give" in message
    targets = known_targets([conf_dir()])
    with pytest.raises(UserError, match="S0Cifar100 refuses its settings"):  # it was passed on
        merge_shards(parts, targets, resamples=20, benchmark={"path": "evil.pbz2"}, quiet=True)
