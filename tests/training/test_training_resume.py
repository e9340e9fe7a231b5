"""A training that was stopped ends with the bits of one that was not."""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import composed, epochs, left, prepared, trained

from diswot.errors import UserError
from diswot.teaching import accuracy
from diswot.training.callbacks import AtomicCheckpointIO, EpochJournal
from diswot.training.setup import trained_teacher


class StoppedError(Exception):
    """As a kill would, but that this process lives on."""


def stop(monkeypatch: pytest.MonkeyPatch, where: str, at: int) -> None:
    """Let every training end in, or after, the epoch ``at``."""

    def batch_end(self: EpochJournal, trainer: Any, *rest: Any) -> None:
        if where == "mid-epoch" and (trainer.current_epoch, rest[-1]) == (at, 1):
            raise StoppedError

    def save(self: AtomicCheckpointIO, checkpoint: Any, *rest: Any, **named: Any) -> None:
        if where == "before checkpoint" and checkpoint["epoch"] == at:
            raise StoppedError
        real(self, checkpoint, *rest, **named)
        if where == "after" and checkpoint["epoch"] == at:
            raise StoppedError

    real = AtomicCheckpointIO.save_checkpoint
    monkeypatch.setattr(EpochJournal, "on_train_batch_end", batch_end)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)


FALLING = "distiller.kd.weight={from: 1, to: 0, shape: cosine, epochs: 3}"
CASES = {
    "a connector": ("after", [FALLING, "distiller=[kd,fitnet]", "protocol.gradient_clip=1"]),
    "an average and held-out images": (
        "after",
        ["protocol.ema=0.9", "protocol.validation=0.3", "data.batch_size=16"],
    ),
    "mixing": (
        "mid-epoch",
        ["protocol.mixup=0.4", "protocol.cutmix=1", "distiller=[vid,dist,sd_dropout]"],
    ),
    "stored logits, balanced": (
        "mid-epoch",
        [
            *("distiller=[kd,dkd,dist]", "protocol.balance=0.5"),
            "protocol.teacher_cache={views: 2, dir: cache, top: 3}",
        ],
    ),
    "resident images": (
        "mid-epoch",
        ["data.resident=true", "protocol.teacher_cache={views: 2, dir: cache}"],
    ),
    "a memory, margins and layers that merge": (
        "after",
        [
            *("distiller=[crd,norm,ofd]", "distiller.crd.negatives=8", "distiller.norm.copies=2"),
            *("protocol.ema=0.9", "protocol.validation=0.3", "data.batch_size=16"),
        ],
    ),
    "labels alone": ("before checkpoint", ["distiller=none", "protocol.label_smoothing=0.1"]),
    "Adam and an epoch-long warm-up": (
        "mid-epoch",
        [
            *("~protocol.optimizer.momentum", "~protocol.optimizer.nesterov"),
            *("protocol.optimizer._target_=torch.optim.AdamW", "protocol.schedule.warmup=1.5"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_stopped_in_every_epoch(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    where, settings = CASES[case]
    trained(tmp_path / "whole", weights, *settings)
    for at in range(3):
        with monkeypatch.context() as patched:
            stop(patched, where, at)
            with pytest.raises(StoppedError):
                trained(tmp_path / "parts", weights, *settings)
        done = len(epochs(tmp_path / "parts")) if (tmp_path / "parts/epochs.jsonl").exists() else 0
        assert done == (at if where == "mid-epoch" else at + 1)
        assert not (tmp_path / "parts/result.json").exists()
    trained(tmp_path / "parts", weights, *settings)
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


@pytest.fixture
def half(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training that was stopped after its second epoch."""
    with monkeypatch.context() as patched:
        stop(patched, "after", 1)
        with pytest.raises(StoppedError):
            trained(tmp_path / "half", weights)
    return tmp_path / "half"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """The same, never stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    trained(path, weights)
    return path


def test_the_teacher_is_measured_once(
    half: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, measured = prepared(weights), []
    teacher = trained_teacher(composed(weights), setup.data)
    of_teacher = accuracy(teacher, setup.batches.test_dataloader(), "cpu")["top1"]
    monkeypatch.setattr("diswot.training.run.of_teacher", lambda *_: measured.append(1))
    result = trained(half, weights)
    assert (result["teacher_top1"], measured) == (of_teacher, [])
    assert trained(half.parent / "alone", weights, "distiller=none")["teacher_top1"] is None


@pytest.mark.parametrize("torn", [True, False])
def test_a_torn_line_or_no_checkpoint(half: Path, whole: Path, weights: Path, torn: bool) -> None:
    if torn:
        with (half / "epochs.jsonl").open("a") as file:
            file.write('{"epoch":2,"lr":0.0')
    else:
        (half / "last.ckpt").unlink()
    trained(half, weights)
    assert left(half) == left(whole)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint"])
def test_a_damaged_checkpoint(half: Path, weights: Path, content: bytes) -> None:
    whole = (half / "last.ckpt").read_bytes()
    (half / "last.ckpt").write_bytes(
        content + whole[: len(whole) // 2] * bool(content[:2] == b"PK")
    )
    before = (half / "epochs.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"last.ckpt is damaged") as caught:
        trained(half, weights)
    assert "\n" not in str(caught.value)
    assert (half / "epochs.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda lines: lines[:1], r"has 1 epochs, last.ckpt 2; remove"),
        (lambda lines: [lines[0].replace("0.", "x.", 1), *lines[1:]], r"line 1 is damaged"),
    ],
    ids=["lost", "damaged"],
)
def test_a_journal_that_was_changed(
    half: Path, weights: Path, harm: Callable[[list[str]], Iterable[str]], problem: str
) -> None:
    lines = (half / "epochs.jsonl").read_text().splitlines()
    (half / "epochs.jsonl").write_text("\n".join([*harm(lines), ""]))
    with pytest.raises(UserError, match=problem):
        trained(half, weights)


@pytest.mark.parametrize("change", ["TrainingData", "state_dict", "all"])
def test_a_checkpoint_that_was_changed(half: Path, weights: Path, change: str) -> None:
    content = torch.load(half / "last.ckpt", weights_only=True)
    if change == "all":
        content = {"state_dict": {}}
    elif change == "state_dict":
        content["state_dict"].popitem()
    else:
        del content[change]
    torch.save(content, half / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt is damaged.*remove it") as caught:
        trained(half, weights)
    assert "\n" not in str(caught.value)


def test_another_teacher_in_the_same_place(half: Path, weights: Path) -> None:
    kept = weights.read_bytes()
    state = torch.load(weights, weights_only=True)
    torch.save({name: value * 1.5 for name, value in state.items()}, weights)
    try:
        with pytest.raises(UserError, match=r"other files \(teacher.sha256: \w+ → \w+\)"):
            trained(half, weights)
    finally:
        weights.write_bytes(kept)


def test_a_full_disk(
    tmp_path: Path, whole: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, saved = tmp_path / "run", []

    def write(path: Path, data: bytes) -> None:
        if path.name == "last.ckpt":
            saved.append(path.read_bytes() if path.exists() else b"")
            if len(saved) == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    from diswot.runs.files import write_atomic as real

    with monkeypatch.context() as patched:
        patched.setattr("diswot.training.callbacks.write_atomic", write)
        with pytest.raises(OSError, match=r"No space left on device: .*last.ckpt"):
            trained(run, weights)
    assert (run / "last.ckpt").read_bytes() == saved[1] != b""
    assert not list(run.glob(".*"))
    trained(run, weights)
    assert left(run) == left(whole)


def test_checkpoints_hold_no_teacher(half: Path, weights: Path) -> None:
    content = torch.load(half / "last.ckpt", weights_only=True)
    others = [value for name, value in content["state_dict"].items() if "student." not in name]
    assert sum(value.numel() for value in others) < 10  # counts of validation
