"""Fixtures of the command line's tests."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cli_helpers import Cli, Ended

from diswot.cli import main


@pytest.fixture(autouse=True)
def _cheap(known_costs: None) -> None:
    """Counting costs takes longer than these searches."""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    """The console script in an empty folder, in this process; curves and searches are not drawn."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISWOT_DATA", raising=False)
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)

    def run(*words: str) -> Ended:
        capfd.readouterr()
        try:
            code = main(words)
        except SystemExit as done:  # Hydra's --help
            code = int(done.code or 0)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def cli(command: Callable[..., Ended]) -> Cli:
    """``diswot search``."""
    return partial(command, "search")
