"""Fixtures of the ranking's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else."""
    monkeypatch.setattr("diswot.ranking.report.plot_rank", lambda *_: None)
