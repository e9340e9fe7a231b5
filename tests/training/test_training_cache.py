"""Stored logits are the teacher's, are computed once, and hurt nobody when they go wrong."""

import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from training_helpers import composed, trained

from diswot.training import teacher as teachers
from diswot.training.setup import TrainingSetup
from diswot.training.teacher import FrozenTeacher, StoredLogits, write_logits

Prepare = Callable[..., TrainingSetup]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings of a small training with stored logits."""
    data = ["data.length=40", "data.batch_size=8", "protocol.max_epochs=4"]
    return [*data, "protocol.teacher_cache.views=2", f"protocol.teacher_cache.dir={tmp_path}/cache"]


@pytest.fixture
def prepare(words: list[str], weights: Path) -> Prepare:
    """Prepares such a training, and its file."""

    def prepared(*overrides: str, teacher: Path = weights, quiet: bool = True) -> TrainingSetup:
        return TrainingSetup.from_config(composed(teacher, *words, *overrides), quiet=quiet)

    return prepared


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
    logits = setup.module._stored
    assert logits is not None
    return logits


def test_logits_are_those_of_the_teacher_for_the_view_that_an_epoch_shows(prepare: Prepare) -> None:
    live, setup = prepare("protocol.teacher_cache.views=0"), prepare()
    views = stored(setup).logits
    assert views.shape == (2, 40, 10)
    training, teacher = setup.batches.training, live.module._teacher
    assert teacher is not None
    for epoch in range(4):
        images, _, indices = training[epoch, 1]
        expected = teacher(images).logits
        torch.testing.assert_close(views[epoch % 2, indices], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(views[0], views[1], atol=1e-3)
    assert len(stored(prepare("protocol.augment=null")).logits) == 1


def test_training_from_the_file_is_training_from_the_teacher(
    words: list[str], weights: Path, tmp_path: Path
) -> None:
    """The same two views: epochs 0 and 1 show them with and without a file."""
    words = [*words, "protocol.max_epochs=2"]
    trained(tmp_path / "stored", weights, *words)
    trained(tmp_path / "live", weights, *words, "protocol.teacher_cache.views=0")
    one, other = (load_file(tmp_path / run / "student.safetensors") for run in ("stored", "live"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)


def test_a_second_run_does_not_run_the_teacher(
    words: list[str], weights: Path, calls: list[int], tmp_path: Path
) -> None:
    trained(tmp_path / "one", weights, *words)
    assert calls == [40, 40]
    trained(tmp_path / "two", weights, *words, "student.network.shortcut=A", "data.batch_size=4")
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
        ("data.batch_size=5 data.num_workers=1 data.resident=true", True),
        ("student.network.shortcut=A distiller=dist", True),
        ("protocol.max_epochs=9 protocol.validation=0.2", True),
    ],
)
def test_the_file_is_shared_by_what_does_not_change_it(
    prepare: Prepare, override: str, same: bool, tmp_path: Path
) -> None:
    prepare()
    prepare(*override.split())
    assert len(files(tmp_path / "cache")) == (1 if same else 2)


def test_a_teacher_of_another_input_has_another_file(prepare: Prepare, tmp_path: Path) -> None:
    plain = stored(prepare()).logits
    resized = stored(prepare("teacher.input.image_size=16")).logits
    assert len(files(tmp_path / "cache")) == 2
    assert not torch.allclose(plain, resized, atol=1e-3)


def test_another_teacher_has_another_file(prepare: Prepare, weights: Path, tmp_path: Path) -> None:
    prepare()
    changed = torch.load(weights, weights_only=True)
    next(value for value in changed.values() if value.is_floating_point()).view(-1)[0] += 1e-3
    torch.save(changed, tmp_path / "changed.pt")
    prepare(teacher=tmp_path / "changed.pt")
    assert len(files(tmp_path / "cache")) == 2


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
        lambda path: save_file({"logits": torch.zeros(2, 40, 10)}, path),
    ],
    ids=["a bit", "cut off", "empty", "foreign"],
)
def test_a_damaged_file_is_computed_again(
    prepare: Prepare, calls: list[int], harm: Callable[[Path], None]
) -> None:
    path = stored(prepare()).path
    good = path.read_bytes()
    harm(path)
    assert path.read_bytes() != good
    prepare()
    assert path.read_bytes() == good
    assert len(calls) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_computation_leaves_nothing(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def interrupted(*_: object) -> Iterator[Tensor]:
        yield torch.zeros(40, 10)
        assert files(tmp_path / "cache")
        raise error

    monkeypatch.setattr(teachers, "_computed", interrupted)
    with pytest.raises(type(error)):
        prepare()
    assert files(tmp_path / "cache") == []


def test_writers_of_the_same_file_do_each_other_no_harm(tmp_path: Path) -> None:
    logits = torch.randn(3, 20, 4)

    def slowly() -> Iterator[Tensor]:
        for chunk in logits.view(-1, 4).split(10):
            time.sleep(0.005)
            yield chunk

    path = tmp_path / "k.safetensors"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write_logits(path, (3, 20, 4), slowly()), range(8)))
    assert files(tmp_path) == ["k.safetensors"]
    assert torch.equal(load_file(path)["logits"], logits)
    sent = pickle.dumps(StoredLogits(path))  # the path, and not the logits
    assert len(sent) < 500
    assert torch.equal(pickle.loads(sent).logits, logits)


def test_drafts_of_killed_processes_are_removed_and_of_live_ones_kept(
    prepare: Prepare, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        draft = tmp_path / f"cache/.k.safetensors.{name}.tmp"
        draft.touch()
        os.utime(draft, (time.time() - age,) * 2)
    written = stored(prepare()).path.name
    assert files(tmp_path / "cache") == [".k.safetensors.young.tmp", written]


def test_progress_is_shown_unless_quiet(
    prepare: Prepare, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teachers, "_EVERY", 0.0)
    prepare()
    assert capsys.readouterr().out == ""
    prepare("seed=1", quiet=False)
    assert "80 of 80 images" in capsys.readouterr().out
