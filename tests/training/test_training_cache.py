"""Stored logits are the teacher's, are computed once, and hurt nobody when they go wrong."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.train import run_train
from diswot.training import cache as teacher_cache
from diswot.training.cache import StoredLogits, write_logits
from diswot.training.callbacks import EpochJournal
from diswot.training.setup import TrainingSetup
from diswot.training.teacher import FrozenTeacher

TINY = (
    *("student=resnet8", "teacher=resnet8", "distiller=kd", "data=gaussian", "device=cpu"),
    *("data.length=40", "data.image_size=8", "data.num_classes=3", "data.batch_size=8"),
    *("protocol.max_epochs=4", "protocol.augment.pad=1", "protocol.teacher_cache.views=2"),
)

Make = Callable[..., dict[str, Any]]


composed = cache(lambda *overrides: compose("train", [*TINY, *overrides], None))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Of a teacher."""
    torch.manual_seed(5)
    return build_network(composed()["teacher"], "teacher", 3, 3).state_dict()


@pytest.fixture
def config(tmp_path: Path, weights: dict[str, Tensor]) -> Make:
    """Gives configs of a small training whose teacher is a file."""
    file = tmp_path / "teacher.safetensors"
    save_file(weights, file)

    def made(*overrides: str) -> dict[str, Any]:
        config = deepcopy(composed(*overrides))
        config["teacher"]["weights"] = str(file)
        config["protocol"]["teacher_cache"]["dir"] = str(tmp_path / "cache")
        return config

    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of all the passes of a teacher."""
    seen: list[int] = []
    plain = FrozenTeacher.__call__

    def count(self: FrozenTeacher, images: Tensor, **settings: bool) -> Any:
        seen.append(len(images))
        return plain(self, images, **settings)

    monkeypatch.setattr(FrozenTeacher, "__call__", count)
    return seen


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stored(setup: TrainingSetup) -> StoredLogits:
    found = setup.module._stored
    assert found is not None
    return found


def trained(config: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """The student after training."""
    run_train(config, folder, [conf_dir()], quiet=True)
    return load_file(folder / "student.safetensors")


def test_logits_are_those_of_the_teacher_for_the_view_that_an_epoch_shows(config: Make) -> None:
    live = TrainingSetup.from_config(config("protocol.teacher_cache.views=0"))
    setup = TrainingSetup.from_config(config(), quiet=True)
    assert stored(setup).logits.shape == (2, 40, 3)
    training, teacher = setup.batches.training, live.module._teacher
    assert teacher is not None
    for epoch in range(4):
        images, _, indices = training[epoch, 1]
        torch.testing.assert_close(
            stored(setup)[epoch % 2, indices], teacher(images).logits, rtol=1e-4, atol=1e-5
        )
    views = stored(setup).logits
    assert not torch.allclose(views[0], views[1], atol=1e-3)


def test_training_from_the_file_is_training_from_the_teacher(config: Make, tmp_path: Path) -> None:
    """The same two views: epochs 0 and 1 show them with and without a file."""
    short = "protocol.max_epochs=2"
    one = trained(config(short), tmp_path / "stored")
    other = trained(config(short, "protocol.teacher_cache.views=0"), tmp_path / "live")
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)


def test_a_second_run_does_not_run_the_teacher(
    config: Make, calls: list[int], tmp_path: Path
) -> None:
    trained(config(), tmp_path / "one")
    assert calls == [40, 40]
    trained(config("student=resnet14", "data.batch_size=4"), tmp_path / "two")
    assert calls == [40, 40]
    assert len(files(tmp_path / "cache")) == 1


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("seed=1", False),
        ("data.shuffle_seed=1", False),
        ("protocol.teacher_cache.views=3", False),
        ("protocol.augment.flip=false", False),
        ("protocol.augment=null", False),
        ("data.length=41", False),
        ("precision=bf16-mixed", False),
        ("data.batch_size=5 data.num_workers=1", True),
        ("student=resnet14 distiller=dist", True),
        ("protocol.max_epochs=9 protocol.validation=0.2", True),
    ],
)
def test_the_file_is_shared_by_what_does_not_change_it(
    config: Make, override: str, same: bool, tmp_path: Path
) -> None:
    TrainingSetup.from_config(config(), quiet=True)
    TrainingSetup.from_config(config(*override.split()), quiet=True)
    assert len(files(tmp_path / "cache")) == (1 if same else 2)


def test_another_teacher_has_another_file(config: Make, tmp_path: Path) -> None:
    settings = config()
    TrainingSetup.from_config(settings, quiet=True)
    changed = load_file(tmp_path / "teacher.safetensors")
    next(value for value in changed.values() if value.is_floating_point()).view(-1)[0] += 1e-3
    save_file(changed, tmp_path / "teacher.safetensors")
    TrainingSetup.from_config(settings, quiet=True)
    assert len(files(tmp_path / "cache")) == 2


def test_without_augmentation_one_view_is_enough(config: Make) -> None:
    setup = TrainingSetup.from_config(config("protocol.augment=null"), quiet=True)
    assert len(stored(setup)) == 1


def test_a_stopped_run_goes_on_to_the_same_bits(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: EpochJournal, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt

    logits = "distiller=[kd,dkd,dist]"
    whole = trained(config(logits), tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(EpochJournal, "on_train_epoch_start", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(config(logits), tmp_path / "stopped")
    resumed = trained(config(logits), tmp_path / "stopped")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        _flip_a_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"logits": torch.zeros(2, 40, 3)}, path),
        lambda path: save_file(load_file(path), path, {"key": "another"}),
    ],
    ids=["a bit", "cut off", "empty", "foreign", "of another key"],
)
def test_a_damaged_file_is_computed_again(
    config: Make, calls: list[int], harm: Callable[[Path], None]
) -> None:
    first = stored(TrainingSetup.from_config(config(), quiet=True))
    path, good = first.path, first.path.read_bytes()
    del first  # what is mapped must not change
    harm(path)
    assert path.read_bytes() != good
    TrainingSetup.from_config(config(), quiet=True)
    assert path.read_bytes() == good
    assert len(calls) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_computation_leaves_nothing(
    config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def interrupted(*_: object) -> Iterator[Tensor]:
        yield torch.zeros(40, 3)
        assert files(tmp_path / "cache")
        raise error

    monkeypatch.setattr(teacher_cache, "_computed", interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        TrainingSetup.from_config(config(), quiet=True)
    assert files(tmp_path / "cache") == []


def test_writers_of_the_same_file_do_each_other_no_harm(tmp_path: Path) -> None:
    logits = torch.randn(3, 20, 4)

    def slowly() -> Iterator[Tensor]:
        for chunk in logits.view(-1, 4).split(10):
            time.sleep(0.005)
            yield chunk

    path = tmp_path / "k.safetensors"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write_logits(path, "k", (3, 20, 4), slowly()), range(8)))
    assert files(tmp_path) == ["k.safetensors"]
    assert torch.equal(load_file(path)["logits"], logits)


def test_drafts_of_killed_processes_are_removed_and_of_live_ones_kept(tmp_path: Path) -> None:
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        draft = tmp_path / f".k.safetensors.{name}.tmp"
        draft.touch()
        os.utime(draft, (time.time() - age,) * 2)
    teacher_cache._remove_abandoned(tmp_path)
    assert files(tmp_path) == [".k.safetensors.young.tmp"]


def test_another_process_gets_the_path_and_not_the_logits(tmp_path: Path) -> None:
    logits = torch.randn(2, 500, 10)
    write_logits(tmp_path / "k.safetensors", "k", (2, 500, 10), iter(logits))
    sent = pickle.dumps(StoredLogits(tmp_path / "k.safetensors"))
    assert len(sent) < 500
    indices = torch.tensor([7, 0])
    assert torch.equal(pickle.loads(sent)[1, indices], logits[1, indices])


def test_progress_is_shown_unless_quiet(
    config: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher_cache, "_EVERY", 0.0)
    TrainingSetup.from_config(config(), quiet=True)
    assert capsys.readouterr().out == ""
    TrainingSetup.from_config(config("seed=1"))
    assert "80 of 80 images" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_refused(config: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = config()
    settings["protocol"]["teacher_cache"]["dir"] = str(tmp_path / "file")
    with pytest.raises(UserError, match=r"protocol\.teacher_cache\.dir=.*file.* give a folder"):
        TrainingSetup.from_config(settings)


@pytest.mark.parametrize(
    ("override", "told"),
    [("distiller=[kd,at]", "distiller at reads more"), ("protocol.mixup=0.2", "mixed images")],
)
def test_what_needs_more_than_stored_logits_is_refused(
    config: Make, override: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        TrainingSetup.from_config(config(override))
