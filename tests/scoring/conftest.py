"""Fixtures of the scoring tests: a small mini-batch, and members found by listing conf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.scoring.scorer import Scorer
from diswot.scoring.setup import Setup
from diswot.spaces import Space

TINY = ["data=gaussian", "data.batch_size=6", "data.image_size=16", "teacher=resnet8"]


def members(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.fixture(scope="session", params=members("space"))
def space(request: pytest.FixtureRequest) -> Space:
    return make(compose("search", [f"space={request.param}"], None)["space"], "space", Space)


@pytest.fixture(scope="session")
def setup_of() -> Callable[..., Setup]:
    """Everything a run scores with, on noise of 16 × 16 pixels."""

    def build(*overrides: str) -> Setup:
        config: dict[str, Any] = compose("search", [*TINY, *overrides], None)
        return Setup.from_config({**config, "device": "cpu"})

    return build


@pytest.fixture(scope="session")
def s0_scorer(setup_of: Callable[..., Setup]) -> Scorer:
    return setup_of("space=s0", "proxy=[diswot,nwot,params,random]").scorer
