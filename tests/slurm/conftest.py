"""The cluster that this folder's tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_helpers import Cluster, missing_programs, start, stop


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Slurm of our own; its folder is short, since sockets have short names."""
    if missing := missing_programs():
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    root = Path(tempfile.mkdtemp(prefix="slurm"))
    env = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
    try:
        yield start(root)
    finally:
        stop(root, env)
        shutil.rmtree(root, ignore_errors=True)
