"""The matrices a search leaves are those its scores were made of."""

import csv
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from diswot.commands import compose
from diswot.scoring.setup import Setup
from diswot.search import run_search
from diswot.searching import similarity
from diswot.searching.similarity import save_similarity, similarity_matrices

NOISE = ["data=gaussian", "data.batch_size=6", "data.image_size=16"]
REAL = ["data=fashion_mini", "data.batch_size=6", "teacher=resnet20", "teacher.weights=embedded"]
S0 = ["space=s0", "space.depths=[1,2]", "strategy=exhaustive", "device=cpu", "workers=1"]
S1 = ["space=s1", "strategy=random", "strategy.evaluations=1", "device=cpu", "workers=1"]
TINY = [*S0, *NOISE, "teacher=resnet8", "budget=none"]
CAM = ["proxy=semantic", "proxy.semantic.form=cam"]
SIZES = {"relation": (6, 6), "semantic": (10, 10)}
SIDES = ("teacher", "student")


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup.from_config(compose("search", [*TINY, "proxy=diswot"], None))


def searched(path: Path, *overrides: str) -> Path:
    """The file of a search in a folder."""
    run_search(compose("search", overrides, None), path, quiet=True)
    return path / "similarity.npz"


def check(file: Path, *parts: str, **sizes: tuple[int, int]) -> None:
    """The parts of the best score follow from the matrices, which are just these."""
    with np.load(file, allow_pickle=False) as stored:
        matrices = dict(stored)
    assert set(matrices) == {f"{part}_{side}" for part in parts for side in SIDES}
    for name, matrix in matrices.items():
        size = {**SIZES, **sizes}[name.partition("_")[0]]
        assert (matrix.dtype, matrix.shape) == (np.float32, size)
    with (file.parent / "candidates.csv").open(newline="", encoding="utf-8") as table:
        best = max(csv.DictReader(table), key=lambda row: float(row["score"]))
    for part in parts:
        teacher, student = (matrices[f"{part}_{s}"].astype(float) for s in ("teacher", "student"))
        score = -float(np.square(teacher - student).sum() / teacher.size)
        assert score == pytest.approx(float(best[f"part_{part}"]), rel=1e-4)
        assert score < 0


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([*TINY, "proxy=relation"], ["relation"]),
        ([*TINY, *CAM, "init=kaiming"], ["semantic"]),
        ([*S0, *REAL, "proxy=relation"], ["relation"]),
        ([*S0, *REAL, *CAM], ["semantic"]),
        (
            [*S1, *NOISE, "teacher=resnet8x4", "proxy=diswot", "proxy.diswot.form=classes"],
            ["relation", "semantic"],
        ),
    ],
)
def test_the_best_score_follows_from_them(
    tmp_path: Path, overrides: list[str], parts: list[str]
) -> None:
    check(searched(tmp_path, *overrides), *parts)


def test_they_are_of_the_form_that_was_taken(tmp_path: Path) -> None:
    words = [*S1, *NOISE, "teacher=resnet8x4", "proxy=diswot", "init=kaiming"]
    check(searched(tmp_path / "auto", *words), "relation", "semantic", semantic=(6, 6))
    channel = [*TINY, "proxy=[params,diswot]"]  # beside the fitness too
    with np.load(searched(tmp_path / "channel", *channel), allow_pickle=False) as stored:
        shapes = {name: stored[name].shape for name in stored}
    assert shapes["semantic_teacher"] == shapes["semantic_student"] == (10, 64)


def test_a_search_that_goes_on_writes_them_anew(tmp_path: Path) -> None:
    assert not searched(tmp_path / "none", *TINY, "proxy=params").exists()  # nothing is compared
    settings = [*TINY, "proxy=relation", "strategy=random"]
    file = searched(tmp_path, *settings, "strategy.evaluations=1")
    file.write_bytes(b"old")
    assert searched(tmp_path, *settings, "strategy.evaluations=1").read_bytes() == b"old"
    check(searched(tmp_path, *settings, "strategy.evaluations=12"), "relation")


def test_nothing_that_was_scored_changes(setup: Setup) -> None:
    arch, state = setup.space.parse("s0:1-2-1"), torch.get_rng_state()
    before = setup.scorer.measure(arch).parts
    first, again = (similarity_matrices(setup, str(arch)) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert setup.scorer.measure(arch).parts == before
    assert torch.equal(torch.get_rng_state(), state)


def test_many_rows_are_cut(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = similarity_matrices(setup, "s0:1-1-1")
    monkeypatch.setattr(similarity, "_ROWS", 4)
    cut = similarity_matrices(setup, "s0:1-1-1")
    assert cut.keys() == whole.keys()
    assert all(np.array_equal(cut[name], whole[name][:4]) for name in whole)


@pytest.mark.parametrize("student", [torch.full((6, 6), torch.nan), RuntimeError("no memory")])
def test_what_cannot_be_compared_leaves_no_file(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: Any
) -> None:
    file = tmp_path / "similarity.npz"
    file.write_bytes(b"of another student")
    relation = Mock(side_effect=[student])
    monkeypatch.setattr("diswot.proxies.functional.relation_matrix", relation)
    save_similarity(file, setup, "s0:1-1-1")
    assert relation.call_count == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    file = tmp_path / "similarity.npz"
    file.write_bytes(b"old")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_similarity(file, setup, "s0:1-1-1")
    assert caught.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["similarity.npz"]
    assert file.read_bytes() == b"old"
