"""Fixtures of the search loop's tests."""

from typing import Any

import pytest

from diswot.scoring.scorer import Scorer


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, known_costs: None) -> None:
    """Drawing, and counting costs, takes longer than these searches."""
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Architectures scored in this process under seed 0, that of searches; others come last."""
    seen: list[str] = []
    real = Scorer.measure

    def counted(self: Scorer, arch: Any, *further: Any) -> Any:
        if self.seed == 0:
            seen.append(str(arch))
        return real(self, arch, *further)

    monkeypatch.setattr(Scorer, "measure", counted)
    return seen
