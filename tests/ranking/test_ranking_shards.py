"""Shards of a ranking and their union."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_helpers import TINY, merged, rank, results

from diswot.errors import UserError
from diswot.rank import main
from diswot.ranking.shards import Shard
from diswot.runs.run_dir import RunLock

pytestmark = pytest.mark.usefixtures("known_costs")
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


def refusal(folder: Path) -> str:
    """The message; nothing is written, not even into the shards."""
    files = [(file, file.read_bytes()) for file in folder.rglob("*") if file.is_file()]
    with pytest.raises(UserError) as refused:
        merged(folder)
    assert [(f, f.read_bytes()) for f in folder.rglob("*") if f.is_file()] == files
    return str(refused.value)


def shard(folder: Path, index: int) -> Path:
    (path,) = folder.glob(f"*/shard{index}of3")
    return path


def test_the_union_is_the_whole(
    parts: Path, whole: Path, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    assert not list(parts.rglob("rank.csv"))
    monkeypatch.chdir(tmp_path)
    assert main(["merge=parts", "resamples=20"]) == 0
    assert results(parts) == results(whole)
    assert (parts / "rank.png").stat().st_size > 0
    assert "parts/rank.csv" in capfd.readouterr().out
    assert not any(file.is_file() for file in (tmp_path / "runs").rglob("*"))
    assert not list((tmp_path / "runs" / "rank").iterdir())


def test_what_lies_beside_the_shards_is_ignored(parts: Path, whole: Path) -> None:
    (parts / "notes.txt").write_text("mine")
    (parts / "search").mkdir()
    for folder in (parts, parts / "search"):
        (folder / "config.json").write_text("{")
    shutil.copytree(whole, parts / "a-whole-run")
    merged(parts)
    merged(parts)  # its own files do not disturb
    assert results(parts) == results(whole)


def test_shards_that_are_missing_there_twice_or_damaged(parts: Path) -> None:
    shutil.copytree(shard(parts, 1), parts / "copy")
    assert "shard 1/3 is there more than once" in refusal(parts)
    shutil.rmtree(parts / "copy")
    shutil.rmtree(shard(parts, 2))
    assert "shard 2/3 is missing" in refusal(parts)
    (shard(parts, 1) / "config.json").write_text("[]")
    assert "config.json cannot be read: no JSON object; leave it out" in refusal(parts)
    shutil.rmtree(parts)
    assert "does not exist; give the folder that holds" in refusal(parts)
    parts.write_text("mine")
    assert "is not a folder" in refusal(parts)


def test_no_shards(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "whole")
    for folder in (whole, tmp_path):
        assert "no folder in it holds a shard" in refusal(folder)


def test_a_shard_at_work_or_unfinished_is_left_alone(parts: Path) -> None:
    run = shard(parts, 2)
    file = run / "scores.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lost = json.loads(lines[-1])
    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    lock = RunLock(run / "run.lock")
    lock.acquire()
    message = refusal(parts)
    lock.release()
    assert f"1 scores are missing, such as {lost['arch']} under seed {lost['seed']}" in message
    assert "a shard has not finished; run its command again" in message


CALL = {"_target_": "os.mkdir", "path": "ran"}
ALL = (1, 2, 3)


@pytest.mark.parametrize(
    "case",
    [
        ([2], "data.batch_size", 7, "3 are shards of different runs (data.batch_size: 6 and 7)"),
        ([3], "seeds", 5, "(seeds: 2 and 5)"),
        ([3], "shard", "2/2", "shards of 2 and of 3, such as 1/3 and 2/2"),
        ([1], "benchmark", None, "are shards of different runs (benchmark._target_: (not set) and"),
        (ALL, "data", CALL, "os.mkdir"),
        (ALL, "proxy.nwot.further", [{"deep": CALL}], "os.mkdir"),
        (ALL, "init._target_", [CALL], "os.mkdir"),
        (ALL, "data.num_classes", "${oc.create:'{_target_: os.mkdir, path: ran}'}", "os.mkdir"),
        (ALL, "data._target_", "${oc.decode:os.mkdir}", "os.mkdir"),
        (ALL, "benchmark.path", "a.pbz2", "benchmark.path=a.pbz2; if you trust that file, give"),
    ],
)
def test_a_spoilt_config_is_refused_and_executes_nothing(
    parts: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Sequence[int], str, Any, str]
) -> None:
    monkeypatch.chdir(parts.parent)
    indices, setting, value, message = case
    *groups, key = setting.split(".")
    for index in indices:
        file = shard(parts, index) / "config.json"
        config = node = json.loads(file.read_text())
        for group in groups:
            node = node[group]
        node.pop(key, None)
        node |= {} if value is None else {key: value}
        file.write_text(json.dumps(config))
    text = refusal(parts)
    assert message in text
    assert "config.json of " in text or "os.mkdir" not in text
    assert not Path("ran").exists()
    if value == "a.pbz2":
        with pytest.raises(UserError, match=r"a.pbz2 cannot be used"):  # it was passed on
            merged(parts, benchmark={"path": value})
