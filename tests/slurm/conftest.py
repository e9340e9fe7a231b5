"""The cluster that this folder's tests share."""

import shutil
from collections.abc import Iterator

import pytest
from slurm_helpers import PATH, PROGRAMS, Cluster, running_slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if missing := [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge")
    with running_slurm() as slurm:
        yield slurm
