"""Small runs of the real commands in processes of their own, and what they leave."""

import csv
import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

_DATA = ("data=gaussian", "data.length=96", "data.batch_size=32", "data.image_size=8", "device=cpu")
_TEACHER = ("teacher=resnet8", "teacher.network.widths=[8,8,16,16]")
_WEIGHTS = "teacher.weights={root}/teacher.pt"
_STUDENT = ("student=resnet8", "student.network.widths=[8,8,16,16]")
_TRAIN = ("train", *_DATA, *_TEACHER, _WEIGHTS, *_STUDENT, "distiller=[kd,sp]")
_CACHE = ("protocol.teacher_cache.views=2", "protocol.teacher_cache.dir=cache")

COMMANDS: dict[str, tuple[str, ...]] = {
    "search": (
        *("search", "space=s0", *_DATA, *_TEACHER, "proxy=[diswot,nwot]", "budget=none"),
        *("strategy.evaluations=30", "strategy.population=10", "strategy.sample=5"),
        *("strategy.generation=5", "workers=1"),
    ),
    "rank": (
        *("rank", "space=s0", *_DATA, *_TEACHER, "proxy=[diswot,nwot]", "benchmark.sample=8"),
        *("seeds=2", "resamples=20", "workers=1"),
    ),
    "train": (*_TRAIN, "distiller=kd", "protocol.max_epochs=4", *_CACHE),
    "race": (
        *("race", *_DATA, "space=s0", "archs=[s0:1-1-1,s0:1-1-3]", "rungs=[1,2]"),
        *("seeds=1", "images=64", "protocol.validation=0.2", "workers=1", *_TEACHER, _WEIGHTS),
    ),
    "probe": ("probe", *_DATA, *_TEACHER, _WEIGHTS),
    "small": (
        *("search", "space=s0", "teacher=none", "proxy=[params,random]", *_DATA, "workers=1"),
        *("strategy=random", "strategy.evaluations=12", "strategy.generation=4"),
    ),
    "processes": (*_TRAIN, "protocol.max_epochs=4", "trainer.devices=2"),
    "loading": (*_TRAIN, "protocol.max_epochs=4", "data.num_workers=1"),
}
"""By what they are called here; all in ``run``, below the folder they are started in."""

_CLOCK = ("second", "crc32", "journal_bytes")  # what no two runs have alike: a clock, its digits


@dataclass(frozen=True)
class Ended:
    """Exit code of a command, negative for a signal, its output and its seconds."""

    code: int
    out: str
    err: str
    seconds: float


def words(name: str, root: Path) -> list[str]:
    """Command and settings; ``root`` holds what several runs share."""
    return [word.format(root=root) for word in COMMANDS[name]] + ["hydra.run.dir=run"]


@cache
def prepared(root: Path) -> Path:
    """The folder with the weights of a teacher; modules that every command needs are loaded."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import torch

    from diswot.commands import compose
    from diswot.models.resnet import CifarResNet

    for name in ("search", "rank", "train", "race", "probe"):
        import_module(f"diswot.{name}")
        compose(name, ["data=gaussian"], None)
    for name in ("loggers", "scoring.setup", "training.run", "searching.engine", "ranking.scores"):
        import_module(f"diswot.{name}")
    for name in ("search", "rank", "train", "race"):
        import_module(f"diswot.reporting.{name}")
    draw = torch.Generator().manual_seed(3)
    network = CifarResNet([1, 1, 1], [8, 8, 16, 16], num_classes=10)
    state = {
        name: torch.randn(value.shape, generator=draw) * 0.3 if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    state |= {name: value.abs() for name, value in state.items() if name.endswith("running_var")}
    torch.save(state, root / "teacher.pt")
    return root


def run(
    command: list[str],
    folder: Path,
    *,
    around: AbstractContextManager[object] | None = None,
    killed_after: float | None = None,
) -> Ended:
    """Run a command in a fork of this process, which has loaded the modules, until it ends.

    ``around`` is a context for all that it does; ``killed_after`` so many seconds it is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder.parent / f"{folder.name}.{kind}" for kind in ("out", "err")]
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        _act(command, folder, files, around or nullcontext())
    handle = os.pidfd_open(pid)
    try:
        if not select.select([handle], [], [], killed_after)[0]:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    deadline = time.monotonic() + 120
    with suppress(ProcessLookupError):  # its own processes see that it is gone
        while time.monotonic() < deadline:
            os.killpg(pid, 0)
            time.sleep(0.05)
    return Ended(code, *(file.read_text() for file in files), time.monotonic() - started)


def _act(
    command: list[str], folder: Path, files: list[Path], around: AbstractContextManager[object]
) -> None:
    """The life of the fork."""
    code = 1
    try:
        os.setsid()
        for number, file in enumerate(files, start=1):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
        os.chdir(folder)
        with around:
            code = import_module(f"diswot.{command[0]}").main(command[1:])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def left(folder: Path) -> dict[str, Any]:
    """What is in all files below a folder, but for what the clock said.

    Drafts of stored teacher outputs have random names, and stay a day when a process was killed.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {
        str(file.relative_to(folder)): _content(file)
        for file in files
        if not (file.parent.name == "cache" and file.suffix == ".tmp")
    }


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of files that are not in both alike."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def _content(file: Path) -> Any:
    if file.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in file.read_text().splitlines()]
    if file.suffix == ".json":
        return _timeless(json.loads(file.read_text()))
    if file.suffix == ".csv":
        rows = list(csv.DictReader(file.read_text().splitlines()))
        return [_timeless(row) for row in rows]
    if file.suffix == ".ckpt":
        import torch

        kept = torch.load(file, map_location="cpu", weights_only=True)  # it names its folder, too
        return _timeless([kept["state_dict"], kept["optimizer_states"], kept["lr_schedulers"]])
    return file.read_bytes()


def _timeless(value: Any) -> Any:
    """Plain values without times, tensors as their bytes."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(word in str(k) for word in _CLOCK)}
        return {key: _timeless(inner) for key, inner in kept.items()}
    if isinstance(value, list | tuple):
        return [_timeless(inner) for inner in value]
    if hasattr(value, "numpy"):
        return value.detach().contiguous().numpy().tobytes()
    return value
