"""Fixtures of the tests of training."""

from pathlib import Path

import pytest
from training_helpers import teacher_file


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of a small teacher of ten classes."""
    return teacher_file(tmp_path_factory.mktemp("teacher") / "teacher.pt")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture."""
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)
