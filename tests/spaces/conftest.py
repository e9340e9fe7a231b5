"""Fixtures of the space tests: every member of conf/space, found by listing the folder."""

from __future__ import annotations

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.spaces import Space

MEMBERS = sorted(path.stem for path in (conf_dir() / "space").glob("*.yaml"))


@pytest.fixture(scope="session", params=MEMBERS)
def space(request: pytest.FixtureRequest) -> Space:
    return make(compose("search", [f"space={request.param}"], None)["space"], "space", Space)
