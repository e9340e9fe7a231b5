"""Fixtures of the tests of races."""

import shutil
from pathlib import Path

import pytest
import torch
from racing_helpers import TEACHER, raced

from diswot.models.resnet import CifarResNet


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings of a small teacher with weights."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    torch.manual_seed(3)
    torch.save(CifarResNet([1, 1, 1], [8, 8, 16, 16], num_classes=10).state_dict(), path)
    return [*TEACHER, f"teacher.weights={path}"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, teacher: list[str]) -> Path:
    """A race that was never stopped."""
    path = tmp_path_factory.mktemp("race") / "run"
    raced(path, *teacher)
    return path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "run")
