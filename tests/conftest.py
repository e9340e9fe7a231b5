"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder named by DISWOT_DATA; tests that use it carry the marker ``data``."""
    value = os.environ.get("DISWOT_DATA")
    if not value:
        pytest.skip("set DISWOT_DATA to a folder laid out as docs/data.md says")
    root = Path(value)
    if not root.is_dir():
        pytest.fail(f"DISWOT_DATA={value} is no folder")
    return root
