"""A ranking from config to table: what it leaves, what it keeps, what it goes on with."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from math import inf
from pathlib import Path

import pytest
from PIL import Image
from ranking_helpers import (
    CONTRACT,
    TINY,
    bits,
    journal,
    no_picture,
    no_scoring,
    rank,
    results,
    table,
)
from scipy.stats import rankdata

from diswot.api import rank_proxies
from diswot.commands import compose
from diswot.errors import UserError
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.rank import main, run_rank

pytestmark = pytest.mark.usefixtures("known_costs")
FILES = {
    *("config.json", "rank.csv", "rank.png", "result.json", "run.lock"),
    *("scores.csv", "scores.jsonl", "state.json"),
}


def test_a_ranking_and_its_second_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*TINY, "proxy=[nwot,random]", "seeds=2"]
    assert main(command) == 0
    first = capfd.readouterr()
    (run,) = (tmp_path / "runs" / "rank").iterdir()
    assert {file.name for file in run.iterdir()} == FILES
    assert (run / "rank.csv").read_text().startswith(f"{CONTRACT},")
    assert Image.open(run / "rank.png").format == "PNG"

    rows = table(run / "rank.csv")
    assert {(row["target"], row["proxy"]) for row in rows} == set(
        product(("vanilla", "distilled"), ("nwot", "random", "params", "flops"))
    )
    conditions = {
        **{"space": "s0", "dataset": "cifar100", "n": "5", "failed": "0", "seeds": "2"},
        **{"data": "gaussian", "num_classes": "10", "init": "gaussian", "teacher": "resnet8"},
    }
    for row in rows:
        assert conditions.items() <= row.items()
    lines = table(run / "scores.csv")
    assert [int(line["seed"]) for line in lines] == [0] * 5 + [1] * 5
    assert len({line["arch"] for line in lines}) == 5
    for line, record in zip(lines, journal(run), strict=True):
        assert (line["arch"], int(line["seed"])) == (record["arch"], record["seed"])
        assert float(line["nwot"]) == sum(record["parts"]["nwot"].values())
        assert (int(line["params"]), int(line["flops"])) == (record["params"], record["flops"])

    before = {name: (run / name).read_bytes() for name in FILES - {"rank.png"}}
    with no_scoring:
        assert main(command) == 0
    assert capfd.readouterr().out == first.out
    assert {name: (run / name).read_bytes() for name in before} == before


def test_seeds_may_grow_and_nothing_else(tmp_path: Path) -> None:
    common = ["proxy=nwot", "seed=3"]
    rank(tmp_path, *common)
    before = (tmp_path / "scores.jsonl").read_bytes()
    rows = rank(tmp_path, *common, "seeds=2")
    after = (tmp_path / "scores.jsonl").read_bytes()
    assert after.startswith(before)
    assert [line["seed"] for line in journal(tmp_path)] == [3] * 5 + [4] * 5
    assert {row.seeds for row in rows} == {2}
    with no_scoring:
        rank(tmp_path, *common, "seeds=2", "workers=2", "resamples=7")
        for changed, message in {
            "seeds=1": "seeds=2; it may grow, not become 1",
            "data.batch_size=7": "data.batch_size: 6 → 7",
            "benchmark.sample=6": "benchmark.sample: 5 → 6",
            "control=shuffled": "control: none → shuffled",
            "proxy=random": "proxy.nwot",
            "num_classes=11": "num_classes: 10 → 11",
        }.items():
            with pytest.raises(UserError, match="holds a run with") as refusal:
                rank(tmp_path, *common, "seeds=2", changed)
            assert message in str(refusal.value)
    assert (tmp_path / "scores.jsonl").read_bytes() == after


def test_torn_and_lost_lines_are_scored_again_by_two_workers(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=[diswot,snip]")
    file, scored, expected = tmp_path / "scores.jsonl", bits(tmp_path), results(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-2])[:-9])
    rank(tmp_path, "proxy=[diswot,snip]", "workers=2")
    assert file.read_bytes().splitlines(keepends=True)[:-3] == lines[:-3]
    assert bits(tmp_path) == scored
    assert results(tmp_path) == expected


@pytest.mark.slow
def test_kill(tmp_path: Path) -> None:
    settings = ["proxy=nwot", "seeds=2", "benchmark.sample=8"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    words = [sys.executable, "-m", "diswot.rank", *TINY, *settings, f"hydra.run.dir={run}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL) as process:
        file = run / "scores.jsonl"
        while process.poll() is None and not (file.exists() and file.stat().st_size > 0):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "rank.csv").exists()
    kept = file.read_bytes()
    assert 0 < kept.count(b"\n") < 2 * 8
    rank(run, *settings)
    assert file.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    rank(whole, *settings)
    assert results(run) == results(whole)


class Moody(Proxy):
    """Dislikes short last stages."""

    needs_forward = False

    def measure(self, inputs: ProxyInput) -> Components:
        if inputs.arch.endswith("-1"):
            raise RuntimeError("too short")
        return {"moody": inf if inputs.arch.endswith("-3") else float(inputs.cost.params)}


def test_failures_are_counted_and_never_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compose("rank", [*TINY, "benchmark.sample=12", "seeds=2"], None)
    node = {"_target_": "test_ranking_run.Moody", "name": "moody"}
    with no_picture:
        run_rank({**config, "proxy": {"moody": node}}, tmp_path)

    records = journal(tmp_path)
    reasons = {line["arch"][-1]: line["failures"].get("moody") for line in records}
    short = "RuntimeError: too short (measure)"
    assert reasons == {"1": short, "3": "moody is inf", "5": None, "7": None}
    failed = sum(line["arch"][-1] in "13" for line in records)
    rows = {r["proxy"]: r for r in table(tmp_path / "rank.csv") if r["target"] == "vanilla"}
    assert (rows["moody"]["failed"], rows["params"]["failed"]) == (str(failed), "0")
    assert {row["n"] for row in rows.values()} == {"12"}
    message = f"{failed} candidates could not be scored in full; scores.jsonl has the reasons"
    assert message in capsys.readouterr().err
    lines = table(tmp_path / "scores.csv")
    assert len(lines) == 24
    assert all((line["moody"] == "") == (line["arch"][-1] in "13") for line in lines)


def test_relative_scores_are_ranks_among_the_archs_of_a_seed(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=[diswot,te_nas]", "proxy.diswot.combine=rank", "seeds=2")
    lines = table(tmp_path / "scores.csv")
    for proxy in ("diswot", "te_nas"):
        for seed in (0, 1):
            records = [line for line in journal(tmp_path) if line["seed"] == seed]
            parts = [list(line["parts"][proxy].values()) for line in records]
            ranks = rankdata(parts, axis=0).sum(1)
            expected = {r["arch"]: rank for r, rank in zip(records, ranks, strict=True)}
            own = {r["arch"]: float(r[proxy]) for r in lines if r["seed"] == str(seed)}
            assert own == expected


def test_shuffled_controls(tmp_path: Path) -> None:
    chosen = ["proxy=[relation,semantic,nwot]", "proxy.semantic.form=cam"]
    rows = rank(tmp_path / "run", *chosen, "control=shuffled", "seeds=2")
    names = "relation semantic nwot params flops relation@shuffled semantic@shuffled"
    assert {row.proxy for row in rows} == set(names.split())
    for line in journal(tmp_path / "run"):
        parts = line["parts"]
        own, control = (parts[f"relation{end}"]["relation"] for end in ("", "@shuffled"))
        assert abs(own - control) > 1e-6 * abs(own)
        own, control = (parts[f"semantic{end}"]["semantic"] for end in ("", "@shuffled"))
        assert control == pytest.approx(own, rel=1e-9)
    rank(tmp_path / "plain", *chosen)
    rank(tmp_path / "second", *chosen, "control=shuffled", "seed=1", "benchmark.sample=64")
    controlled, plain, second = (bits(tmp_path / run) for run in ("run", "plain", "second"))
    for key, parts in plain.items():
        assert {name: controlled[key][name] for name in parts} == parts
        seed, arch = key
        assert controlled[seed + 1, arch] == second[seed + 1, arch]  # controls of its own


def test_the_python_api(tmp_path: Path) -> None:
    small = {"overrides": TINY, "proxy": ["nwot"], "teacher": "none"}
    with no_picture:
        whole = rank_proxies(**small)
        assert {row.proxy for row in whole} == {"nwot", "params", "flops"}
        with pytest.raises(UserError, match=r"shard=1/2: give run_dir, or what is scored is lost"):
            rank_proxies(**small, shard="1/2")
        for index in (1, 2):
            part = tmp_path / f"part{index}"
            assert rank_proxies(**small, shard=f"{index}/2", run_dir=part) == []
        united = rank_proxies(merge=str(tmp_path), overrides=["resamples=20"])
    assert [(r.proxy, r.spearman) for r in united] == [(r.proxy, r.spearman) for r in whole]


def test_a_line_that_says_nothing_of_a_proxy(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=nwot", "teacher=none")
    lines, before = journal(tmp_path), results(tmp_path)
    parts = lines[0]["parts"]
    for spoilt in ({"params": parts["params"]}, {**parts, "nwot": {}}):
        text = "\n".join(json.dumps(line) for line in [{**lines[0], "parts": spoilt}, *lines[1:]])
        (tmp_path / "scores.jsonl").write_text(text + "\n")
        rank(tmp_path, "proxy=nwot", "teacher=none")
        assert results(tmp_path) == before
        assert len(journal(tmp_path)) == len(lines) + 1


def test_a_proxy_more(tmp_path: Path) -> None:
    """What is new is scored alone, with the bits of a ranking of all at once; seeds grow too."""
    grown, whole, common = tmp_path / "grown", tmp_path / "whole", "control=shuffled"
    rank(grown, "proxy=relation", common)
    first = journal(grown)
    rank(grown, "proxy=[relation,nwot]", common)
    second = journal(grown)[len(first) :]
    assert [line["arch"] for line in second] == [line["arch"] for line in first]
    assert [list(line["parts"]) for line in second] == [["nwot"]] * 5
    words = ["proxy=[nwot,relation,l2_norm]", common, "seeds=2"]
    rank(grown, *words)
    rank(whole, *words)
    assert results(grown) == results(whole)
    with no_scoring:
        rank(grown, *words)
        with pytest.raises(UserError, match=r"proxy.relation.*not set.*only seeds, proxy may grow"):
            rank(grown, "proxy=[nwot,l2_norm]", common, "seeds=2")
        with pytest.raises(UserError, match=r"proxy.relation.normalise: after . before"):
            rank(grown, *words, "proxy.relation.normalise=before")
