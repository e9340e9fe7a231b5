"""Wrong input to ``diswot rank``: one message, exit code 2, nothing half-written."""

from functools import partial
from pathlib import Path

import pytest
from cli_helpers import Cli
from cli_helpers import refused as refused_by

TINY = [
    *("space=s0", "teacher=resnet8", "proxy=nwot", "data=gaussian", "data.image_size=16"),
    *("data.batch_size=6", "benchmark.sample=5", "device=cpu", "workers=1"),
]


refused = partial(refused_by, command="rank")


@pytest.fixture
def cli(command: Cli) -> Cli:
    """``diswot rank``."""
    return partial(command, "rank")


def left(folder: Path) -> list[Path]:
    """Files, and run directories."""
    return [path for path in folder.rglob("*") if path.is_file() or path.parent.name == "rank"]


CSV = "benchmark=nasbench201 space=nasbench201"

BAD = {
    "benchmark=bogus": ("there is no benchmark bogus", "nasbench201, s0"),
    "space=s1": ("there is no benchmark s1", "accuracies are known of nasbench201, s0"),
    "space=s1 benchmark=s0": ("benchmark=s0", "space s0, not of s1", "give space=s0 or another"),
    "space.depths=[1,3]": ("space s0 allows 1, 3", "must hold every architecture", "benchmark"),
    "benchmark.sample=65": ("benchmark.sample=65", "has 64 architectures", "null for all"),
    "benchmark.sample=1": ("benchmark.sample=1 is not allowed", "at least 2"),
    "benchmark.datasets=[cifar10]": ("benchmark.datasets=['cifar10']", "knows cifar100"),
    "+benchmark.path=x.csv": ("benchmark: diswot.accuracies.s0.S0Cifar100 refuses", "path"),
    f"{CSV} benchmark.source=foo": ("benchmark.source=foo", "auto, csv, nats_bench, analog"),
    f"{CSV} benchmark.path=no.csv": ("benchmark.path: no.csv", ".csv or .csv.gz"),
    f"{CSV} benchmark.path=no.txt": ("benchmark.path: no.txt", ".csv, .csv.gz nor NATS"),
    "proxy=snip num_classes=5": ("num_classes=5: gaussian has labels of 10", "snip", "at least 10"),
    "num_classes=1": ("num_classes=1", "at least 2"),
    "proxy=diswot teacher=none": ("teacher=none", "diswot", "teacher=resnet56"),
    "seeds=0": ("seeds=0 is not allowed; give a whole number of at least 1",),
    "seed=x": ("seed=x is not allowed", "at least 0"),
    "shard=5/4": ("shard=5/4 is not allowed; give i/n with i from 1 to n",),
    "shard=6/6": ("shard=6/6: there are 5 architectures", "at most as many shards"),
    "control=foo": ("control=foo: allowed are none, shuffled",),
    "resamples=0": ("resamples=0 is not allowed", "at least 1"),
    "workers=0": ("workers=0", "at least 1"),
    "debug=maybe": ("debug=maybe is not allowed; give true or false",),
    "strategy=random": ("strategy",),
    "merge=nowhere": ("merge=nowhere does not exist", "holds the shards' folders"),
    "merge=nowhere seeds=7": ("takes its settings from the shards", "allowed beside it are"),
    "space.widths=[4,4,8,16]": ("benchmark=s0 holds for space.widths=[16, 16, 32, 64]", "other"),
    "proxy=[]": ("proxy: at least one is needed",),
    "~teacher": ("teacher: none is given", "--help"),
    "benchmark.datasets=5": ("benchmark.datasets=5 is not allowed; give a list of names",),
}


@pytest.mark.parametrize("overrides", BAD)
def test_one_message(cli: Cli, tmp_path: Path, overrides: str) -> None:
    beside = [] if "merge=" in overrides and "seeds" not in overrides else TINY
    message = refused(cli(*beside, *overrides.split()))
    for part in BAD[overrides]:
        assert part in message
    assert left(tmp_path) == []


def test_what_was_there_stays(cli: Cli, tmp_path: Path) -> None:
    notes = tmp_path / "run" / "notes"
    notes.parent.mkdir()
    notes.write_text("mine")
    assert "notes is no folder; give the folder that holds" in refused(cli("merge=run/notes"))
    refused(cli(*TINY, "hydra.run.dir=run", "seeds=0"))
    refused(cli("space=s0", "teacher=none", "proxy=params", "~benchmark", "hydra.run.dir=run"))
    refused(cli(*TINY, "hydra.run.dir=run", "proxy=diswot", "teacher=none"))
    assert left(tmp_path) == [notes]
    assert notes.read_text() == "mine"


def test_a_sweep_with_a_failing_job(cli: Cli, tmp_path: Path) -> None:
    small = [*TINY, "proxy=params", "resamples=5"]
    ended = cli("-m", *small, "shard=1/2,3/2", "hydra.sweep.dir=parts")
    assert ended.code == 2
    assert "shard=3/2 is not allowed" in ended.err
    assert "Traceback" not in ended.err
    assert len(list((tmp_path / "parts").glob("*/*/scores.jsonl"))) == 1  # the other is not lost
    assert "shard 2/2 is missing" in refused(cli("merge=parts"))
