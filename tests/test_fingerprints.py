"""Runs notice when the files they are made of have changed."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diswot import race, rank, search, train
from diswot.commands import compose
from diswot.config import difference, fingerprints
from diswot.fingerprints import identified
from diswot.models.resnet import CifarResNet

SCORING = [
    *("space=s0", "space.depths=[1,2]", "teacher=resnet8", "proxy=params", "device=cpu"),
    *("workers=1", "data.batch_size=2", "data.image_size=16"),
]
SEARCH = [*SCORING, "strategy=exhaustive", "budget=none", "teacher_images=0"]


def weights(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    torch.save(CifarResNet([1, 1, 1], [16, 16, 32, 64], "B", 10).state_dict(), path)
    return f"teacher.weights={path}"


def photo(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (colour, 9, 9)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/deep/2.png"):
        photo(tmp_path / "photos" / name)
    return tmp_path / "photos"


def known(root: Path, *words: str) -> dict[str, Any]:
    chosen = ["data=folder", f"data.root={root}", *words]
    return fingerprints(identified(compose("search", chosen, None)))


def test_images_that_were_made_are_known_with_those_to_test_with(photos: Path) -> None:
    made = photos.parent / "made"
    made.mkdir()
    node = compose("search", ["data=folder", f"data.root={photos}"], None)["data"]
    (made / "config.json").write_text(json.dumps({"data": node}))
    (made / "images.npz").write_bytes(b"1")

    def found() -> dict[str, Any]:
        config = compose("search", ["data=synthesized", f"data.run={made}"], None)
        return fingerprints(identified(config))

    before = found()
    photo(photos / "b" / "3.png")
    assert {key for key, value in found().items() if before[key] != value} >= {
        "data_files.root_to_test.images"
    }
    before = found()
    (made / "images.npz").write_bytes(b"22")
    assert found()["data_files.run.bytes"] != before["data_files.run.bytes"]


def test_no_class_is_loaded_that_a_foreign_synthesis_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_images.py").write_text("class Data:\n    own_files = ('root',)\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "foreign_images.Data", "root": str(tmp_path)}
    (tmp_path / "config.json").write_text(json.dumps({"data": node}))
    config = compose("search", ["data=synthesized", f"data.run={tmp_path}"], None)
    assert not [key for key in fingerprints(identified(config)) if "to_test" in key]
    assert "foreign_images" not in sys.modules


def test_a_finished_search_of_another_teacher_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, weights(tmp_path / "t.pt", 0), f"hydra.run.dir={tmp_path}/run"]
    assert search.main(words) == 0
    assert search.main(words) == 0
    assert "has finished before" in capsys.readouterr().out
    weights(tmp_path / "t.pt", 1)
    assert search.main(words) == 2
    captured = capsys.readouterr()
    assert "a run that was made of other files (teacher.sha256: " in captured.err
    assert "Best" not in captured.out


def test_a_run_that_has_no_fingerprints_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, weights(tmp_path / "t.pt", 0), f"hydra.run.dir={tmp_path}/run"]
    assert search.main(words) == 0
    config = json.loads((tmp_path / "run/config.json").read_bytes())
    del config["teacher"]["sha256"]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    weights(tmp_path / "t.pt", 1)
    assert search.main(words) == 0
    assert "has finished before" in capsys.readouterr().out


def test_a_ranking_of_other_images_is_refused(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["space=s0", "teacher=none", "proxy=params", "device=cpu", "workers=1", "data=folder"]
    words += [f"data.root={photos}", "data.image_size=16", "data.batch_size=2", "data.holdout=0"]
    words += ["benchmark.sample=4", "resamples=2", f"hydra.run.dir={tmp_path}/run"]
    assert rank.main(words) == 0
    assert rank.main(words) == 0
    photo(photos / "a/3.png")
    capsys.readouterr()
    assert rank.main(words) == 2
    message = capsys.readouterr().err
    assert "made of other files (data_files.root.bytes: " in message
    assert "data_files.root.images: 4 → 5" in message


TRAIN = ["student=resnet8", "teacher=resnet8", "protocol.augment=null", "device=cpu", "data=npz"]
RACE = ["space=s0", "archs=[s0:1-1-1]", "teacher=resnet8", "device=cpu", "data=npz"]


@pytest.mark.parametrize(("command", "words"), [(train, TRAIN), (race, RACE)])
def test_a_run_with_other_arrays_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Any,
    words: list[str],
) -> None:
    """The work itself is left out: what is compared is there before."""

    def work(session: Any, *_: object) -> None:
        session.run_dir.begin()
        raise KeyboardInterrupt

    monkeypatch.setattr(command, f"_{command.__name__.rpartition('.')[2]}", work)
    arrays = {f"x_{split}": np.zeros((4, 3, 16, 16), np.uint8) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(4) for split in ("train", "test")}
    np.savez(tmp_path / "mine.npz", **arrays, **labels)
    given = [*words, weights(tmp_path / "t.pt", 0), f"data.path={tmp_path}/mine.npz"]
    given += ["data.num_classes=10", f"hydra.run.dir={tmp_path}/run"]
    assert command.main(given) == 130
    np.savez(tmp_path / "mine.npz", **arrays, **labels, more=np.zeros(1))
    assert command.main(given) == 2
    assert "made of other files (data_files.path.sha256: " in capsys.readouterr().err


def later(photos: Path) -> None:
    os.utime(photos / "a/1.png", (10**9, 10**9))


def replaced(photos: Path) -> None:
    photo(photos / "a/1.png", 200)
    os.utime(photos / "a/1.png", (10**9 + 1, 10**9 + 1))


@pytest.mark.parametrize(
    ("change", "names"),  # that change beside the bytes
    [
        (later, {"newest", "sha256"}),
        (replaced, {"newest", "sha256"}),
        (lambda photos: (photos / "b/deep/2.png").unlink(), {"images", "sha256"}),
        (lambda photos: (photos / "b/1.png").rename(photos / "a/9.png"), {"sha256"}),
        (lambda photos: (photos / "notes.txt").write_text("none of the images"), set()),
    ],
)
def test_a_folder_is_known_by_names_sizes_and_times(
    photos: Path, change: Callable[[Path], object], names: set[str]
) -> None:
    for file in photos.rglob("*.png"):
        os.utime(file, (10**8, 10**8))
    before = known(photos)
    assert before["data_files.root.images"] == 4
    change(photos)
    after = known(photos)
    changed = {name.rpartition(".")[2] for name in before if before[name] != after[name]}
    assert changed - {"bytes"} == names


def test_a_copy_that_keeps_times_is_the_same(tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos, tmp_path / "copy")  # by copy2, as cp -a does
    assert known(tmp_path / "copy") == known(photos)


def test_what_is_not_there_any_more_is_named(tmp_path: Path, photos: Path) -> None:
    config = compose("search", ["data=folder", f"data.root={photos}"], None)
    before = identified(config)
    shutil.rmtree(photos)
    changed = [
        name for name, _, now in difference(before, identified(config)) if now == "(not set)"
    ]
    assert changed == [
        f"data_files.root.{name}" for name in ("bytes", "images", "newest", "sha256")
    ]


def test_files_of_the_package_need_none() -> None:
    words = ["data=fashion_mini", "teacher=resnet20", "teacher.weights=embedded"]
    assert fingerprints(identified(compose("search", words, None))) == {}
