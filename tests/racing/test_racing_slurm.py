"""A sweep of races on a Slurm of our own."""

import sys
from pathlib import Path

import pytest
from racing_helpers import SMALL, left

from diswot.cli import main

sys.path.append(str(Path(__file__).parents[1] / "slurm"))


@pytest.mark.slow
@pytest.mark.slurm
def test_the_same_races_as_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from slurm_helpers import running_slurm

    monkeypatch.chdir(tmp_path)
    words = [*SMALL, "teacher=none", "seed=0,1"]
    assert main(["race", "-m", *words, "hydra.sweep.dir=here"]) == 0
    summary = capfd.readouterr().out.rpartition("Winners of 2 races")[2]
    assert "seed=0" in summary
    assert "seed=1" in summary
    with running_slurm() as cluster:
        launcher = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"]
        ended = cluster.sweep(tmp_path, "race", [*words, *launcher, "hydra.sweep.dir=there"])
    assert ended.code == 0, ended.err
    runs = sorted(path.parent.name for path in (tmp_path / "here").glob("*/result.json"))
    assert len(runs) == 2
    for run in runs:
        assert left(tmp_path / "there" / run) == left(tmp_path / "here" / run)
