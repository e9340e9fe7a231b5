"""Fixtures of the tests of training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from training_helpers import teacher_file


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of a small teacher of ten classes."""
    return teacher_file(tmp_path_factory.mktemp("teacher") / "teacher.pt")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, as other processes have, and no picture."""
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
