"""Sweeps on a real Slurm: shards, preemption, and jobs that are cancelled."""

import json
from collections.abc import Iterator
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path

import pytest
from slurm_helpers import Cluster, Ended, running_slurm, until

from diswot.commands import compose
from diswot.rank import main as rank
from diswot.search import run_search

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SMALL = [
    *("space=s0", "proxy=nwot", "data=gaussian", "data.image_size=8", "data.batch_size=6"),
    *("device=cpu", "workers=1"),
]
RANKING = [*SMALL, "teacher=none", "benchmark.sample=8", "resamples=20"]
SEARCH = [
    *(*SMALL, "teacher=none", "strategy.evaluations=12", "strategy.population=4"),
    *("strategy.sample=3", "strategy.generation=2"),
    "+proxy.wait={_target_:slurm_plugins.Wait,name:wait}",
]
ONE_CORE = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"]
WHOLE_NODE = ["hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=null"]


def journal(run: Path) -> list[dict[str, object]]:
    lines = (run / "candidates.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "crc32")}
        for line in lines
    ]


def table(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV, without times."""
    with file.open(newline="") as text:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in DictReader(text)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_slurm() as slurm:
        yield slurm


def test_shards(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*RANKING, *ONE_CORE, "shard=1/4,2/4,3/4,4/4", "hydra.sweep.dir=parts"]
    ended = cluster.sweep(tmp_path, "rank", words)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.count(" finished (") == 4
    monkeypatch.chdir(tmp_path)
    assert rank([*RANKING, "hydra.run.dir=whole"]) == 0
    (folder,) = Path("parts").glob("s0-*")
    assert rank([f"merge={folder}", "resamples=20"]) == 0
    for name in ("rank.csv", "scores.csv"):
        assert table(folder / name) == table(Path("whole", name))


@dataclass(frozen=True)
class Disturbed:
    """Three searches: one preempted, one cancelled running, one before it ran."""

    root: Path
    ended: Ended
    jobs: list[str]
    """Slurm's ids, by seed."""

    def run(self, seed: int) -> Path:
        (path,) = self.root.glob(f"runs/search/s0-*-seed{seed}-*")
        return path


@pytest.fixture(scope="module")
def disturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    root = tmp_path_factory.mktemp("disturbed")
    jobs: list[str] = []

    def scored(seed: int) -> bool:
        return any(f.read_bytes().count(b"\n") >= 4 for f in root.rglob(f"*-seed{seed}-*/*.jsonl"))

    def preempted() -> bool:
        return any("job is preempted" in file.read_text() for file in root.rglob("*_0_0_log.out"))

    def disturb() -> None:
        until(lambda: scored(0), 180, "the first job scores nothing")
        urgent = ["--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap=true"]
        cluster.call("sbatch", f"--chdir={root}", *urgent)
        until(preempted, 180, "the first job is not told to leave")
        (root / "hold-0").unlink()
        until(lambda: scored(1), 180, "the second job scores nothing")
        jobs.extend(sorted(job for job in cluster.jobs() if "_" in job)[-3:])
        cluster.call("scancel", *jobs[1:])

    for seed in (0, 1):
        (root / f"hold-{seed}").touch()
    ended = cluster.sweep(root, "search", [*SEARCH, *WHOLE_NODE, "seed=0,1,2"], disturb)
    return Disturbed(root, ended, jobs)


def test_a_preempted_job_goes_on(disturbed: Disturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    (log,) = disturbed.root.rglob("*_0_0_log.out")
    text = log.read_text()
    assert "this job is preempted" in text
    assert text.count("Starting with JobEnvironment") == 2
    assert "Going on: " in text
    assert "Traceback" not in text
    assert disturbed.ended.out.count("seed=0 finished (") == 1
    monkeypatch.chdir(disturbed.root)
    alone = disturbed.root / "alone"
    run_search(compose("search", SEARCH, None), alone, quiet=True)
    assert journal(disturbed.run(0)) == journal(alone)
    assert {line["status"] for line in journal(alone)} == {"ok"}


def test_cancelled_jobs(disturbed: Disturbed) -> None:
    err = disturbed.ended.err
    assert disturbed.ended.code == 2, err
    assert "Traceback" not in err
    assert "2 of 3 jobs failed; the others' results are kept" in err
    for seed, job in enumerate(disturbed.jobs):
        lines = [line for line in err.splitlines() if f"Slurm job {job} is CANCELLED" in line]
        assert len(lines) == bool(seed), err
        for line in lines:
            assert line.startswith(f"  seed={seed} in runs/search/s0-")
            assert "; its log: " in line
    assert disturbed.ended.out.count(" finished (") == 1
    (kept,) = disturbed.root.glob("runs/search/*/result.json")
    assert kept.parent == disturbed.run(0)
    assert len(journal(disturbed.run(1))) >= 4
