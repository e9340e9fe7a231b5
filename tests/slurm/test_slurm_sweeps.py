"""Sweeps on a real Slurm: shards, preemption, and a job that is cancelled."""

from __future__ import annotations

import json
import subprocess
from csv import DictReader
from pathlib import Path

import pytest
from slurm_helpers import Cluster, until

from diswot.hydra_app import compose
from diswot.rank import main as rank
from diswot.search import run_search

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

LIGHT = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"]
RANKING = [
    *("space=s0", "teacher=resnet8", "proxy=nwot", "data=gaussian", "data.image_size=16"),
    *("data.batch_size=6", "benchmark.sample=8", "resamples=20", "device=cpu", "workers=1"),
]
SEARCH = [
    *("space=s0", "teacher=resnet8", "data=gaussian", "data.batch_size=12", "device=cpu"),
    *("strategy.evaluations=25", "strategy.population=10", "strategy.sample=5"),
    *("strategy.generation=5", "workers=2"),
]
COUNTED = [
    *("teacher=none", "proxy=params", "data=gaussian", "data.batch_size=4", "strategy=random"),
    *("space=s1", "strategy.evaluations=40", "device=cpu", "workers=1"),
]


def journal(run: Path) -> list[dict[str, object]]:
    lines = (run / "candidates.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def table(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV, without times."""
    with file.open(newline="") as text:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in DictReader(text)]


def lines(folder: Path) -> dict[Path, int]:
    """Candidates journaled so far, by run directory."""
    return {f.parent: f.read_bytes().count(b"\n") for f in folder.rglob("candidates.jsonl")}


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=150)
    finally:
        process.kill()
    return process.returncode, out, err


def test_shards(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "shard=" + ",".join(f"{i}/4" for i in range(1, 5))
    sweep = cluster.sweep(tmp_path, "rank", *RANKING, *LIGHT, parts, "hydra.sweep.dir=parts")
    monkeypatch.chdir(tmp_path)
    assert rank([*RANKING, "hydra.run.dir=whole"]) == 0
    code, out, err = finished(sweep)
    assert (code, err) == (0, ""), out
    assert out.count(" finished (") == 4
    (folder,) = Path("parts").glob("s0-*")
    assert rank([f"merge={folder}", "resamples=20"]) == 0
    for name in ("rank.csv", "scores.csv"):
        assert table(folder / name) == table(Path("whole", name))


def test_a_preempted_job_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    words = [*SEARCH, "hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=null"]
    sweep = cluster.sweep(tmp_path, "search", *words)
    until(lambda: sum(lines(tmp_path).values()) >= 3, 120, "nothing is scored")
    urgent = ["--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap=true"]
    cluster.call("sbatch", f"--chdir={tmp_path}", *urgent)
    alone = tmp_path / "alone"
    run_search(compose("search", [*SEARCH, "workers=1"], None), alone, quiet=True)
    code, out, err = finished(sweep)
    assert (code, err) == (0, ""), out
    (run,) = lines(tmp_path / "runs")
    (log,) = tmp_path.rglob("*_log.out")
    text = log.read_text()
    assert "this job is preempted" in text
    assert text.count("Starting with JobEnvironment") == 2
    assert "Going on: " in text
    assert "Traceback" not in text
    assert journal(run) == journal(alone)
    assert {line["status"] for line in journal(run)} == {"ok"}


def test_cancelled_jobs(cluster: Cluster, tmp_path: Path) -> None:
    sweep = cluster.sweep(tmp_path, "search", *COUNTED, *LIGHT, "seed=0,1,2")
    running = "s1-*-seed1-*/candidates.jsonl"
    until(lambda: list(tmp_path.rglob(running)), 120, "the second job does not run")
    jobs = [job for job in cluster.jobs() if job.endswith(("_1", "_2"))][-2:]
    cluster.call("scancel", *jobs)
    code, out, err = finished(sweep)
    assert code == 2, err
    assert "Traceback" not in err
    assert "2 of 3 jobs failed; the others' results are kept" in err
    for seed, job in enumerate(sorted(jobs), start=1):
        (line,) = [line for line in err.splitlines() if f"Slurm job {job} is CANCELLED" in line]
        assert line.startswith(f"  seed={seed} in runs/search/s1-none-params-random-seed{seed}-")
        assert "; its log: " in line
    assert out.count(" finished (") == 1
    (kept,) = tmp_path.rglob("result.json")
    assert "-seed0-" in kept.parent.name
