"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Ended

from diswot.search import main

Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _cheap(known_costs: None) -> None:
    """Counting costs takes longer than these searches."""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """``diswot search`` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        try:
            code = main(arguments)
        except SystemExit as done:  # Hydra's --help
            code = int(done.code or 0)
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return run
