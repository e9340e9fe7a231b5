"""What is refused before or while jobs are submitted, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diswot.errors import UserError
from diswot.slurm.job import Job
from diswot.slurm.submission import refuse_settings, refuse_without_slurm, submit


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"additional_parameters": "foo"}, "additional_parameters=foo is not allowed; give a map"),
        ({"setup": "module load cuda"}, "setup=module load cuda is not allowed; give a list"),
        ({"setup": [3]}, r"setup=\[3\] is not allowed; give a list"),
        ({"timeout_min": "foo"}, "timeout_min=foo is not allowed; give a whole number of at leas"),
        ({"cpus_per_task": 0}, "cpus_per_task=0 is not allowed; give a whole number of at least 1"),
        ({"nodes": 1.0}, "nodes=1.0 is not allowed; give 1"),
        ({"max_num_timeout": -1}, "max_num_timeout=-1 is not allowed; give a whole number of at"),
        ({"mem_gb": "16G"}, "mem_gb=16G is not allowed; give a positive number"),
        ({"stderr_to_stdout": 1}, "stderr_to_stdout=1 is not allowed; give true or false"),
    ],
)
def test_settings_of_another_kind(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=rf"^hydra\.launcher\.{told}"):
        refuse_settings(settings)
    refuse_settings(dict.fromkeys(settings))


def script(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's, of which sbatch refuses; the folder they are in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("srun", "scontrol", "squeue"):
        script(folder / name, "exit 0")
    script(folder / "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_a_cluster_that_is_slow_is_one(programs: Path) -> None:
    refuse_without_slurm()
    script(programs / "squeue", "echo 'squeue: error: Socket timed out on send' >&2; exit 1")
    refuse_without_slurm()
    script(programs / "squeue", "exit 1")
    with pytest.raises(UserError, match=r"no cluster answers \(exit code 1\); .*basic"):
        refuse_without_slurm()


def submitted(folder: Path, **settings: Any) -> None:
    """Two jobs that are refused."""
    where = f"{folder}/%j"
    submit(Job(print), [(1,), (2,)], folder=where, timeouts=1, settings={"name": "x", **settings})  # type: ignore[arg-type]


@pytest.mark.usefixtures("programs")
def test_files_of_refused_jobs_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sweep/.submitit"
    with pytest.raises(UserError, match=r"^hydra\.launcher: no job is submitted: invalid partitio"):
        submitted(folder)
    assert not folder.exists()
    with pytest.raises(UserError, match="no job is submitted: Unknown argument 'sideways'"):
        submitted(folder, sideways=1)


@pytest.mark.usefixtures("programs")
def test_files_of_other_sweeps_are_kept(tmp_path: Path) -> None:
    (tmp_path / "7_0").mkdir()
    with pytest.raises(UserError, match="no job is submitted"):
        submitted(tmp_path)
    assert (tmp_path / "7_0").is_dir()
