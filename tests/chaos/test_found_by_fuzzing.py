"""Inputs that once ended in a traceback, hung or asked for all memory; refused by one message."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diswot.checkpoint import DESCRIPTION_FILE, read_student
from diswot.config import make, member_node
from diswot.data import ImageData
from diswot.data.npz import NpzData
from diswot.errors import UnreadableError, UserError
from diswot.models.init import Initializer
from diswot.runs import CandidateRecord, RunDir, ScoreRecord, read_similarity
from diswot.runs.tables import read_table
from diswot.spaces import Space

HUGE = 10**400
IMAGE = {"image_size": 8, "mean": [0.5], "std": [0.5], "batch_size": 2}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("std", [HUGE, -HUGE, "${x}", nested(500), [HUGE]])
def test_values_that_no_class_can_take(std: object) -> None:
    node = {"_target_": "diswot.models.init.Gaussian", "std": std}
    with pytest.raises(UserError, match=r"init"):
        make(node, "init", Initializer)


def test_partial_that_is_no_flag() -> None:
    node = {"_target_": "diswot.models.init.Gaussian", "_partial_": 3}
    with pytest.raises(UserError, match="refuses its settings"):
        make(node, "init", Initializer)


@pytest.mark.parametrize("widest", [2**31, 2**63])
def test_more_choices_than_anyone_searches(widest: int) -> None:
    node = {**member_node("space", "s1", [Path(__file__).parents[2] / "conf"])}
    with pytest.raises(UserError, match="more than 65,536 choices"):
        make({**node, "max_widths": [64, 128, widest]}, "space", Space)
    with pytest.raises(UserError, match="more than 65,536 choices"):
        make({**node, "max_depth": widest}, "space", Space)


def test_more_channels_than_any_image_has() -> None:
    node = {"_target_": "diswot.data.gaussian.GaussianData", "num_classes": 2, "image_size": 8}
    with pytest.raises(UserError, match="give at most 100,000"):
        make({**node, "in_channels": 2**31, "batch_size": 2}, "data", ImageData)


def test_a_yaml_file_with_a_number_of_5000_digits(tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "mine.yaml").write_text(f"_target_: x\nwidth: {'9' * 5000}\n")
    with pytest.raises(UserError, match=r"mine.yaml cannot be read alone"):
        member_node("space", "mine", [tmp_path])


@pytest.mark.parametrize(
    "changed", [{"proxy": 3}, {"proxy": "x"}, {"strategy": [1]}, {"strategy": {"evaluations": []}}]
)
def test_a_config_whose_groups_are_none(tmp_path: Path, changed: dict[str, Any]) -> None:
    config = {"proxy": {"nwot": {}}, "strategy": {"evaluations": 3}, "seed": 0}
    (tmp_path / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(UserError, match=r"hydra.run.dir|may grow"):
        RunDir(tmp_path, config, CandidateRecord).__enter__()


def test_a_ranking_whose_config_has_no_proxies(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"seeds": 1}))
    with RunDir(tmp_path, {"proxy": {"nwot": {}}, "seeds": 1}, ScoreRecord):
        pass


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return path


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


@pytest.mark.parametrize(
    "content", [b"no array", header("(10**9"), header("(1000000000, 1000000000)"), b""]
)
def test_archives_whose_members_are_no_arrays(tmp_path: Path, content: bytes) -> None:
    pair = {"relation_teacher": content, "relation_student": content}
    archive(tmp_path / "similarity.npz", **pair)
    with pytest.raises(UnreadableError, match=r"similarity.npz is damaged"):
        read_similarity(tmp_path)
    keys = ("x_train", "y_train", "x_test", "y_test")
    file = archive(tmp_path / "images.npz", **dict.fromkeys(keys, content))
    with pytest.raises(UserError, match=r"images.npz cannot be used"):
        NpzData(path=file, **IMAGE)


def test_a_compression_that_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "similarity.npz"
    np.savez(file, relation_teacher=np.eye(2), relation_student=np.eye(2))
    content = file.read_bytes()
    central = content.index(b"PK\x01\x02")  # its entry names the method a second time
    content = content[: central + 10] + b"\x63" + content[central + 11 :]
    file.write_bytes(content[:8] + b"\x63" + content[9:])
    with pytest.raises(UnreadableError, match="compression"):
        read_similarity(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("arch,score\ns0:1-1-1,1,2\n", "more cells"), ("seeds," * 20_000, "more than 10,000 columns")],
)
def test_tables_of_another_shape(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "candidates.csv").write_text(text)
    with pytest.raises(UnreadableError, match=problem):
        read_table(tmp_path / "candidates.csv")


@pytest.mark.parametrize("content", [b'{"further": ' + b"[" * 20_000, b'{"student": "\xf2"}'])
def test_descriptions_that_are_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DESCRIPTION_FILE).write_bytes(content)
    (tmp_path / "student.safetensors").touch()
    with pytest.raises(UnreadableError, match=r"student.json is damaged"):
        read_student(tmp_path)
