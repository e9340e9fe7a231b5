"""Stored logits are the teacher's, are computed once, and hurt nobody when they go wrong."""

import os
import pickle
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from training_helpers import composed, epochs, trained

from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs
from diswot.training import teacher as teachers
from diswot.training.setup import TrainingSetup
from diswot.training.stored import Kept, Rows, StoredOutputs, write_outputs
from diswot.training.teacher import FrozenTeacher, only_logits

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


def stored(setup: TrainingSetup) -> StoredOutputs:
    outputs = setup.module._stored
    assert outputs is not None
    return outputs


def told(setup: TrainingSetup, view: int = 0) -> NetworkOutputs:
    """What is stored of all images for a view."""
    cpu, outputs = torch.device("cpu"), stored(setup)
    return outputs.outputs(outputs.view(view, cpu), torch.arange(40), cpu)


def test_logits_are_those_of_the_teacher_for_the_view_that_an_epoch_shows(prepare: Prepare) -> None:
    live, setup = prepare("protocol.teacher_cache.views=0"), prepare()
    views = torch.stack([told(setup, view).logits for view in range(stored(setup).views)])
    assert views.shape == (2, 40, 10)
    training, teacher = setup.batches.training, live.module._teacher
    assert teacher is not None
    for epoch in range(4):
        images, _, indices = training[epoch, 1]
        expected = teacher(images).logits
        torch.testing.assert_close(views[epoch % 2, indices], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(views[0], views[1], atol=1e-3)
    assert stored(prepare("protocol.augment=null")).views == 1


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
    overrides = ([], ["teacher.input.image_size=16"])
    plain, resized = (stored(prepare(*o)).view(0, torch.device("cpu"))["logits"] for o in overrides)
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
    def interrupted(*_: object) -> Iterator[Rows]:
        yield {"logits": torch.zeros(40, 10)}
        assert files(tmp_path / "cache")
        raise error

    monkeypatch.setattr(teachers, "_computed", interrupted)
    with pytest.raises(type(error)):
        prepare()
    assert files(tmp_path / "cache") == []


def test_writers_of_the_same_file_do_each_other_no_harm(tmp_path: Path) -> None:
    logits = torch.randn(3, 20, 4)

    def slowly() -> Iterator[Rows]:
        for chunk in logits.view(-1, 4).split(10):
            time.sleep(0.005)
            yield {"logits": chunk}

    path = tmp_path / "k.safetensors"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write_outputs(path, Kept(4), 3, 20, slowly()), range(8)))
    assert files(tmp_path) == ["k.safetensors"]
    assert torch.equal(load_file(path)["logits"], logits)
    sent = pickle.dumps(StoredOutputs(path, Kept(4)))  # the path, and not the logits
    assert len(sent) < 500
    assert torch.equal(pickle.loads(sent).view(2, logits.device)["logits"], logits[2])


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
    monkeypatch.setattr("diswot.console._EVERY", 0.0)
    prepare()
    assert capsys.readouterr().out == ""
    prepare("seed=1", quiet=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"outputs: 2 views × 40 images × 10 classes, 0\.0 MB in .*safetensors", shown)
    assert "80 of 80 images" in shown


def test_the_largest_logits_are_kept_and_the_others_share_what_is_left() -> None:
    logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(1)) * 4
    kept = Kept(30, top=6)
    read = kept.unpack(kept.pack(only_logits(logits))).logits
    ours, theirs = read.double().softmax(1), logits.double().softmax(1)
    torch.testing.assert_close(ours.sum(1), torch.ones(50, dtype=torch.float64))
    order = logits.argsort(1, descending=True)
    first, others = order[:, :6], order[:, 6:]
    assert torch.equal(read.gather(1, first), logits.gather(1, first))
    torch.testing.assert_close(ours.gather(1, first), theirs.gather(1, first), rtol=1e-5, atol=0)
    even = (1 - theirs.gather(1, first).sum(1, keepdim=True)) / 24  # marginal smoothing
    torch.testing.assert_close(ours.gather(1, others), even.expand(-1, 24), rtol=1e-4, atol=1e-12)


HALF_TOP = ["protocol.teacher_cache.top=3", "protocol.teacher_cache.half=true"]


def test_less_of_a_teacher_takes_less_room(
    prepare: Prepare, calls: list[int], tmp_path: Path
) -> None:
    whole = stored(prepare())
    few, half = prepare(*HALF_TOP), prepare(HALF_TOP[1])
    sizes = [stored(each).path.stat().st_size for each in (few, half)]
    assert whole.path.stat().st_size == pytest.approx(2 * 40 * 10 * 4, abs=400)
    assert sizes == pytest.approx([2 * 40 * (4 * 2 + 3 * 4), 2 * 40 * 10 * 2], abs=400)
    plain = told(prepare()).logits
    torch.testing.assert_close(told(half).logits, plain, rtol=1 / 2048, atol=1e-6)
    first = plain.topk(3).indices
    kept, exact = (each.gather(1, first) for each in (told(few).logits, plain))
    torch.testing.assert_close(kept, exact, rtol=1 / 2048, atol=1e-6)
    assert len(files(tmp_path / "cache")) == 3
    seen = len(calls)
    path = stored(few).path
    _flip_a_byte(path)
    prepare(*HALF_TOP)
    assert len(calls) == seen + 2  # it was damaged


def test_embeddings_teach_from_the_file(
    words: list[str], prepare: Prepare, weights: Path, tmp_path: Path
) -> None:
    """The first step of a training has the losses that it has with the teacher."""
    cached, live = "protocol.teacher_cache.embedding=true", "protocol.teacher_cache.views=0"
    outputs, teacher = told(prepare("distiller=[kd,rkd]", cached)), prepare(live).module._teacher
    images = prepare(live).batches.training.view(torch.arange(40), 0)[0]
    assert teacher is not None
    exact = teacher(images)
    torch.testing.assert_close(outputs.embedding, exact.embedding, rtol=1 / 2048, atol=1e-4)
    torch.testing.assert_close(outputs.logits, exact.logits, rtol=1e-4, atol=1e-5)
    step = [*words, "distiller=[kd,rkd]", "data.batch_size=40", "protocol.max_epochs=2"]
    trained(tmp_path / "stored", weights, *step, cached)
    trained(tmp_path / "live", weights, *step, live)
    one, other = (epochs(tmp_path / run)[0]["losses"] for run in ("stored", "live"))
    assert one == pytest.approx(other, rel=1e-3)
    there = files(tmp_path / "cache")
    with pytest.raises(UserError, match=r"^distiller\.at reads feature maps.*stored none are kept"):
        prepare("distiller=at", cached, "seed=5")
    assert files(tmp_path / "cache") == there  # refused before all images were looked at


def test_what_is_kept_is_checked(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, problem in (
        ("top=10", r"top=10: there are 10 classes; give fewer, or null"),
        ("top=0", r"top=0 .*at least 1"),
        ("half=1", r"half=1 .*true or false"),
    ):
        with pytest.raises(UserError, match=rf"^protocol\.teacher_cache\.{problem}"):
            prepare(f"protocol.teacher_cache.{setting}")
    room = type("Usage", (), {"free": 3000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    with pytest.raises(UserError, match=r"10 classes, 0\.0 MB in .* 0\.0 MB are free; give fewer"):
        prepare()
    prepare(*HALF_TOP)


def test_files_and_runs_of_before_are_found(prepare: Prepare) -> None:
    """The content of a file of all logits, and what names it, are as they always were."""
    path = stored(prepare()).path
    content = path.read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode().strip()
    assert header == (
        '{"logits": {"dtype": "F32", "shape": [2, 40, 10], "data_offsets": [0, 3200]}, '
        '"crc32": {"dtype": "I64", "shape": [2], "data_offsets": [3200, 3216]}}'
    )
