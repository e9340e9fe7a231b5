"""Wrong input: one message, exit code 2, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from cli_helpers import CHEAP, SLOW, Ended, journal, outcome, ran, started, whole_lines

from diswot.models.resnet import CifarResNet

Cli = Callable[..., Ended]
TEACHER = [*CHEAP, "proxy=diswot", "teacher=resnet8", "data.image_size=16"]


def refused(ended: Ended) -> str:
    """The one message of a refusal."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert ended.err.startswith("diswot search: ")
    assert ended.err.count("diswot search: ") == 1
    return ended.err


def results(folder: Path) -> list[str]:
    """Files of runs that have begun."""
    return [
        file.name
        for file in folder.rglob("*")
        if file.is_file() and file.name not in ("run.lock", "config.json")
    ]


BAD = {
    "space=s9": ("Could not find 'space/s9'", "s0", "s1"),
    "teacher=resnet11": ("Could not find 'teacher/resnet11'", "resnet110", "resnet32x4"),
    "proxy=[params,bogus]": ("proxy/bogus",),
    "strategy=bogus": ("strategy/bogus", "evolution", "exhaustive"),
    "budget.params=-1": ("budget.params=-1 is not allowed; give a positive number",),
    "budget.params=many": ("budget.params=many", "positive number"),
    "budget.params=10": ("budget: no architecture of space s0", "params ≤ 10", "nearest, s0:1-1-1"),
    "strategy.evaluations=abc": ("strategy.evaluations=abc", "whole number of at least 1"),
    "strategy.evaluations=0": ("strategy.evaluations=0", "at least 1"),
    "strategy.evaluations=null": ("strategy.evaluations=None", "at least 1"),
    "strategy.generation=1.5": ("strategy.generation=1.5", "whole number"),
    "budgett.params=3": ("budgett", "not in struct"),
    "budget.parms=3": ("parms", "not in struct"),
    "workers=0": ("workers=0 is not allowed; give a whole number of at least 1",),
    "workers=two": ("workers=two",),
    "seed=-1": ("seed", "-1"),
    "seed=x": ("seed", "x"),
    "device=tpu": ("device=tpu", "auto, cpu, cuda"),
    "precision=8": ("precision=8", "32-true"),
    "num_classes=1": ("num_classes=1", "at least 2"),
    "proxy=[]": ("proxy: at least one is needed",),
    "proxy=diswot": ("teacher=none, but diswot compares with a teacher", "teacher=resnet56"),
    "data.batch_size=0": ("data.batch_size",),
    "seed=": ("seed",),
    "space.depths=[1,1]": ("space=s0", "only once"),
    "+space.bogus=1": ("space: diswot.spaces.s0.S0 refuses its settings", "bogus"),
    "=": ("=",),
}


@pytest.mark.parametrize("override", BAD)
def test_one_message(cli: Cli, tmp_path: Path, override: str) -> None:
    message = refused(cli(*CHEAP, override))
    for part in BAD[override]:
        assert part in message
    assert results(tmp_path) == []


def test_imagenet_from_nowhere(cli: Cli, tmp_path: Path) -> None:
    message = refused(cli(*CHEAP, "data=imagenet", "data.root=/nowhere"))
    assert "/nowhere" in message
    assert results(tmp_path) == []


@pytest.mark.parametrize("space", ["s0", "s1"])
def test_the_channel_form_between_differing_widths(cli: Cli, space: str) -> None:
    settings = ["proxy=semantic", "proxy.semantic.form=channel", "teacher=resnet32x4"]
    message = refused(cli(*CHEAP, f"space={space}", *settings))
    assert "proxy.semantic.form=channel needs students as wide as the teacher" in message
    assert "256" in message
    assert ("64" if space == "s0" else "differing widths") in message
    assert "form=cam or form=auto" in message


def test_fewer_classes_than_labels(cli: Cli) -> None:
    message = refused(cli(*TEACHER, "num_classes=5"))
    assert "num_classes=5: gaussian has labels of 10 classes" in message
    assert "at least 10" in message
    assert cli(*CHEAP, "num_classes=5").code == 0  # none of its proxies reads labels


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(cli: Cli) -> None:
    assert "device=cuda: this torch sees no CUDA device" in refused(cli(*CHEAP, "device=cuda"))


def test_a_run_dir_of_another_config(cli: Cli) -> None:
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0
    before = outcome(Path("run"))
    message = refused(cli(*CHEAP, "hydra.run.dir=run", "data.batch_size=5"))
    assert "data.batch_size: 4 → 5" in message
    message = refused(cli(*CHEAP, "hydra.run.dir=run", "proxy=[random,params]"))
    assert "proxy: ['params', 'random'] → ['random', 'params']" in message
    message = refused(cli(*CHEAP, "hydra.run.dir=run", "strategy.evaluations=19"))
    assert "strategy.evaluations=20; it may grow, not become 19" in message
    assert outcome(Path("run")) == before
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0


@pytest.mark.parametrize("wrong", ["abc", "20.5", "null", "[30]"])
@pytest.mark.parametrize("begun", [False, True], ids=["fresh", "begun"])
def test_a_typing_error_does_not_spoil_the_run_dir(cli: Cli, begun: bool, wrong: str) -> None:
    if begun:
        assert cli(*CHEAP).code == 0
    assert "strategy.evaluations" in refused(cli(*CHEAP, f"strategy.evaluations={wrong}"))
    assert cli(*CHEAP).code == 0


def test_a_mended_setting_works_in_the_same_run_dir(cli: Cli) -> None:
    refused(cli(*CHEAP, "hydra.run.dir=run", "budget.params=10"))
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0


def test_a_run_dir_below_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused(cli(*CHEAP, "hydra.run.dir=file/run"))
    assert "file" in message
    assert "Not a directory" in message
    assert (tmp_path / "file").read_text() == "mine"


def test_damaged_state(cli: Cli) -> None:
    run = Path("run")
    whole = [*CHEAP, "hydra.run.dir=run"]
    assert cli(*whole).code == 0
    expected = outcome(run)
    (run / "result.json").unlink()
    before = (run / "candidates.jsonl").read_bytes()
    (run / "state.json").write_text('{"schema": 1, "jour')
    message = refused(cli(*whole))
    assert "state.json is damaged" in message
    assert "remove this file and run the same command" in message
    assert (run / "candidates.jsonl").read_bytes() == before
    (run / "state.json").unlink()
    assert cli(*whole).code == 0
    assert outcome(run) == expected
    assert (run / "candidates.jsonl").read_bytes() == before


def test_a_journal_shorter_than_its_state(cli: Cli) -> None:
    whole = [*CHEAP, "hydra.run.dir=run"]
    assert cli(*whole).code == 0
    expected = outcome(Path("run"))
    Path("run/result.json").unlink()
    journaled = Path("run/candidates.jsonl")
    journaled.write_bytes(b"".join(journaled.read_bytes().splitlines(keepends=True)[:7]))
    assert "lines are missing; remove state.json" in refused(cli(*whole))
    Path("run/state.json").unlink()
    assert cli(*whole).code == 0
    assert outcome(Path("run")) == expected


def test_a_damaged_line(cli: Cli) -> None:
    whole = [*CHEAP, "hydra.run.dir=run"]
    assert cli(*whole).code == 0
    Path("run/result.json").unlink()
    journaled = Path("run/candidates.jsonl")
    lines = journaled.read_bytes().splitlines(keepends=True)
    journaled.write_bytes(b"".join([*lines[:3], b"{}\n", *lines[4:]]))
    assert "candidates.jsonl, line 4 is damaged" in refused(cli(*whole))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.witness),)


def test_teacher_weights(cli: Cli, tmp_path: Path) -> None:
    weights = [*TEACHER, "teacher.weights=teacher.pt", "hydra.run.dir=run"]
    weights.append("strategy.evaluations=2")
    message = refused(cli(*weights))
    assert "teacher.weights: there is no file teacher.pt" in message

    network = CifarResNet([1, 1, 1], [16, 16, 32, 64], "B", 10)
    torch.save(network.state_dict(), "teacher.pt")
    content = Path("teacher.pt").read_bytes()
    Path("teacher.pt").write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(cli(*weights))

    torch.save({"conv1.weight": Bomb(tmp_path / "ran")}, "teacher.pt")
    assert "could run code" in refused(cli(*weights))
    assert not (tmp_path / "ran").exists()
    assert results(tmp_path / "run") == []

    Path("teacher.pt").write_bytes(content)
    assert cli(*weights).code == 0
    assert refused(cli(*weights, "num_classes=20", "hydra.run.dir=other"))


def test_debug_shows_where(tmp_path: Path) -> None:
    ended = ran(tmp_path, *CHEAP, "workers=0", "debug=true")
    assert ended.code != 0
    assert "Traceback" in ended.err
    assert "workers=0 is not allowed" in ended.err


def test_a_sweep_with_a_failing_job(cli: Cli, tmp_path: Path) -> None:
    ended = cli("-m", *CHEAP, "seed=0,-1,2")
    assert ended.code == 2
    assert "seed=-1" in ended.err
    assert "Traceback" not in ended.err
    assert len(list(tmp_path.rglob("result.json"))) == 2  # the others are not lost


@pytest.mark.slow
def test_a_second_process_is_refused(cli: Cli, tmp_path: Path) -> None:
    with started(tmp_path, *SLOW, "hydra.run.dir=run") as process:
        while process.poll() is None and whole_lines(tmp_path / "run") < 2:
            pass
        message = refused(cli(*SLOW, "hydra.run.dir=run"))
        assert f"is in use by process {process.pid} on " in message
        assert process.poll() is None
        process.kill()
    assert len(journal(tmp_path / "run")) >= 2


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk(cli: Cli, tmp_path: Path, tiny_disk: Path) -> None:
    settings = [*CHEAP, "strategy.generation=3"]
    assert cli(*settings, "hydra.run.dir=whole").code == 0
    ballast = tiny_disk / "ballast"
    run = tiny_disk / "run"
    for free in (1, 3, 6, 9):  # pages: stops while starting, journaling, saving, exporting
        ballast.unlink(missing_ok=True)
        with ballast.open("wb", buffering=0) as file:
            try:
                for _ in range(32):
                    file.write(b"x" * 4096)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017
        os.truncate(ballast, max(0, ballast.stat().st_size // 4096 - free) * 4096)
        ended = cli(*settings, f"hydra.run.dir={run}")
        if ended.code:
            assert "No space left on device" in refused(ended)
        assert not list(run.glob(".*.tmp")) if run.exists() else True
    ballast.unlink()
    assert cli(*settings, f"hydra.run.dir={run}").code == 0
    assert outcome(run) == outcome(tmp_path / "whole")


def test_a_disk_that_fills_up_while_journaling(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*CHEAP, "hydra.run.dir=whole").code == 0
    from diswot.runs import Journal

    real = Journal.append
    appended = []

    def full(self: Journal, record: object) -> None:
        appended.append(record)
        if len(appended) == 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, record)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "append", full)
    assert "No space left on device" in refused(cli(*CHEAP, "hydra.run.dir=run"))
    assert len(journal(tmp_path / "run")) == 13
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_a_result_is_strict_json(cli: Cli) -> None:
    assert cli(*CHEAP, "hydra.run.dir=run").code == 0

    def never(text: str) -> None:
        raise AssertionError(text)

    json.loads(Path("run/result.json").read_text(), parse_constant=never)
