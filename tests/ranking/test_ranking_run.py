"""A ranking from config to table: what it leaves, what it keeps, what it goes on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image
from ranking_helpers import TARGETS, TINY, bits, journal, proxies_of, rank, table, untimed
from scipy.stats import rankdata

from diswot.api import rank_proxies
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.rank import main
from diswot.scoring.pool import scoring_pool
from diswot.scoring.setup import Setup

CONTRACT = (
    "space,dataset,target,proxy,n,failed,spearman,spearman_lo,spearman_hi,spearman_std,kendall,"
    "pearson,partial_spearman_params,precision_at_10pct,regret,seconds_per_arch,seeds,data,"
    "num_classes,init,teacher"
)
FILES = {
    *("config.json", "rank.csv", "rank.png", "result.json", "run.lock"),
    *("scores.csv", "scores.jsonl", "state.json"),
}


def no_scoring(*_: object) -> NoReturn:
    raise AssertionError("scored anew")


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
    assert {(row["target"], row["proxy"]) for row in rows} == {
        (target, proxy) for target in TARGETS for proxy in ("nwot", "random", "params", "flops")
    }
    for row in rows:
        conditions = [row[key] for key in ("space", "dataset", "n", "failed", "seeds", "data")]
        assert conditions == ["s0", "cifar100", "5", "0", "2", "gaussian"]
        assert [row[key] for key in ("num_classes", "init", "teacher")] == [
            *("10", "gaussian", "resnet8")
        ]
    scores = table(run / "scores.csv")
    assert [int(line["seed"]) for line in scores] == [0] * 5 + [1] * 5
    assert len({line["arch"] for line in scores}) == 5

    before = {name: (run / name).read_bytes() for name in FILES - {"rank.png"}}
    monkeypatch.setattr("diswot.ranking.engine.scoring_pool", no_scoring)
    assert main(command) == 0
    assert capfd.readouterr().out == first.out
    assert {name: (run / name).read_bytes() for name in before} == before


@pytest.mark.usefixtures("no_picture")
def test_scores_csv_holds_what_the_journal_says(tmp_path: Path) -> None:
    rows = rank(tmp_path, "proxy=nwot")
    known = {line["arch"]: line for line in journal(tmp_path)}
    for line in table(tmp_path / "scores.csv"):
        record = known[line["arch"]]
        assert float(line["nwot"]) == sum(record["parts"]["nwot"].values())
        assert (int(line["params"]), int(line["flops"])) == (record["params"], record["flops"])
    params = next(row for row in rows if row.proxy == "params")
    assert params.minus_params == 0
    assert params.baseline
    assert not params.better_than_params


@pytest.mark.usefixtures("no_picture")
def test_seeds_may_grow_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rank(tmp_path, "proxy=nwot", "seed=3")
    before = (tmp_path / "scores.jsonl").read_bytes()
    rows = rank(tmp_path, "proxy=nwot", "seed=3", "seeds=2")
    after = (tmp_path / "scores.jsonl").read_bytes()
    assert after.startswith(before)
    assert [line["seed"] for line in journal(tmp_path)] == [3] * 5 + [4] * 5
    assert {row.seeds for row in rows} == {2}

    monkeypatch.setattr("diswot.ranking.engine.scoring_pool", no_scoring)
    rank(tmp_path, "proxy=nwot", "seed=3", "seeds=2", "workers=2", "resamples=7")
    for changed, told in {
        "seeds=1": "seeds=2; it may grow, not become 1",
        "data.batch_size=7": "data.batch_size: 6 → 7",
        "benchmark.sample=6": "benchmark.sample: 5 → 6",
        "control=shuffled": "control: none → shuffled",
        "proxy=[nwot,random]": "proxy.random",
        "num_classes=11": "num_classes: 10 → 11",
    }.items():
        with pytest.raises(UserError, match="holds a run with") as refusal:
            rank(tmp_path, "proxy=nwot", "seed=3", "seeds=2", changed)
        assert told in str(refusal.value)
    assert (tmp_path / "scores.jsonl").read_bytes() == after


@pytest.mark.usefixtures("no_picture")
def test_two_workers_give_the_bits_of_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    rank(one, "proxy=[diswot,snip]")
    rank(two, "proxy=[diswot,snip]", "workers=2")
    assert bits(one) == bits(two)
    assert (one / "scores.csv").read_bytes() == (two / "scores.csv").read_bytes()
    assert untimed(one / "rank.csv") == untimed(two / "rank.csv")


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
def test_kill(tmp_path: Path) -> None:
    settings = ["proxy=nwot", "seeds=2", "benchmark.sample=16"]
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
    assert 0 < kept.count(b"\n") < 2 * 16
    rank(run, *settings)
    assert file.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    rank(whole, *settings)
    assert (run / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert untimed(run / "rank.csv") == untimed(whole / "rank.csv")


@pytest.mark.usefixtures("no_picture")
def test_a_torn_last_line(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=nwot")
    file, scores = tmp_path / "scores.jsonl", (tmp_path / "scores.csv").read_bytes()
    lines, expected = file.read_bytes().splitlines(keepends=True), bits(tmp_path)
    file.write_bytes(b"".join(lines)[:-9])
    rank(tmp_path, "proxy=nwot")
    assert file.read_bytes().splitlines(keepends=True)[:-1] == lines[:-1]
    assert bits(tmp_path) == expected
    assert (tmp_path / "scores.csv").read_bytes() == scores


MOODY = '''
from diswot.proxies import Proxy


class Moody(Proxy):
    """Dislikes short last stages."""

    needs_forward = False

    def measure(self, inputs):
        if inputs.arch.endswith("-1"):
            raise RuntimeError("too short")
        if inputs.arch.endswith("-3"):
            return {"moody": float("inf")}
        return {"moody": float(inputs.cost.params)}
'''


@pytest.mark.usefixtures("no_picture")
def test_failures_are_counted_and_never_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "moody_proxies.py").write_text(MOODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    node = "# @package proxy.moody\n_target_: moody_proxies.Moody\nname: moody\n"
    (tmp_path / "conf" / "proxy").mkdir(parents=True)
    (tmp_path / "conf" / "proxy" / "moody.yaml").write_text(node)
    monkeypatch.chdir(tmp_path)
    words = ["--config-dir=conf", *TINY, "proxy=moody", "benchmark.sample=12", "seeds=2"]
    assert main([*words, "hydra.run.dir=run"]) == 0

    records = journal(tmp_path / "run")
    reasons = {line["arch"][-1]: line["failures"].get("moody") for line in records}
    assert reasons == {
        **{"1": "RuntimeError: too short (measure)", "3": "moody is inf", "5": None, "7": None}
    }
    failed = sum(line["arch"][-1] in "13" for line in records)
    rows = {r["proxy"]: r for r in table(tmp_path / "run" / "rank.csv") if r["target"] == "vanilla"}
    assert rows["moody"]["failed"] == str(failed)
    assert rows["params"]["failed"] == "0"
    assert {row["n"] for row in rows.values()} == {"12"}
    shown = capsys.readouterr()
    assert "failed" in shown.out
    assert (
        f"{failed} candidates could not be scored in full; scores.jsonl has the reasons"
        in shown.err
    )
    lines = table(tmp_path / "run" / "scores.csv")
    assert len(lines) == 24
    assert all((line["moody"] == "") == (line["arch"][-1] in "13") for line in lines)


@pytest.mark.usefixtures("no_picture")
def test_relative_scores_are_ranks_among_the_archs_of_a_seed(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=[diswot,te_nas]", "proxy.diswot.combine=rank", "seeds=2")
    lines = table(tmp_path / "scores.csv")
    for proxy in ("diswot", "te_nas"):
        for seed in (0, 1):
            records = [line for line in journal(tmp_path) if line["seed"] == seed]
            parts = [list(line["parts"][proxy].values()) for line in records]
            expected = dict(
                zip([r["arch"] for r in records], rankdata(parts, axis=0).sum(1), strict=True)
            )
            found = {line["arch"]: line[proxy] for line in lines if line["seed"] == str(seed)}
            assert {arch: float(value) for arch, value in found.items()} == expected


@pytest.mark.usefixtures("no_picture")
def test_shuffled_controls(tmp_path: Path) -> None:
    chosen = ["proxy=[relation,semantic,nwot]", "proxy.semantic.form=cam"]
    rows = rank(tmp_path / "run", *chosen, "control=shuffled")
    assert proxies_of(rows) == {
        *("relation", "semantic", "nwot", "params", "flops"),
        *("relation@shuffled", "semantic@shuffled"),
    }
    for line in journal(tmp_path / "run"):
        parts = line["parts"]
        own, control = (parts[f"relation{end}"]["relation"] for end in ("", "@shuffled"))
        assert abs(own - control) > 1e-6 * abs(own)
        own, control = (parts[f"semantic{end}"]["semantic"] for end in ("", "@shuffled"))
        assert control == pytest.approx(own, rel=1e-9)
    rank(tmp_path / "plain", *chosen)
    controlled, plain = bits(tmp_path / "run"), bits(tmp_path / "plain")
    for key, parts in plain.items():
        assert {name: controlled[key][name] for name in parts} == parts


def test_a_score_is_the_same_alone_and_in_any_company() -> None:
    """All members of the group, on networks that have their first stages in common."""
    config = compose("rank", [*TINY, "proxy=all", "control=shuffled"], None)
    archs = ("s0:1-1-1", "s0:1-1-3", "s0:1-3-1")

    def measured(proxies: dict[str, object]) -> dict[str, list[object]]:
        setup = Setup.from_config({**config, "proxy": proxies})
        with scoring_pool(setup.scorer, 1) as measure:
            found = list(measure([setup.space.parse(arch) for arch in archs]))
        return {
            name: [
                {part: value.hex() for part, value in one.parts[name].items()}
                if name in one.parts
                else one.failures[name]
                for one in found
            ]
            for name in setup.proxies
        }

    together = measured(config["proxy"])
    assert {path.stem for path in (conf_dir() / "proxy").glob("*.yaml")} <= set(together)
    alone: dict[str, list[object]] = {}
    for name, node in config["proxy"].items():
        alone |= measured({name: node})
    assert alone == together
    backwards = dict(reversed(config["proxy"].items()))
    assert measured(backwards) == together


def test_the_python_api(tmp_path: Path) -> None:
    small = {"overrides": TINY, "proxy": ["nwot"], "teacher": "none"}
    whole = rank_proxies(**small)
    assert {row.proxy for row in whole} == {"nwot", "params", "flops"}
    with pytest.raises(UserError, match=r"shard=1/2: give run_dir, or what is scored is lost"):
        rank_proxies(**small, shard="1/2")
    for index in (1, 2):
        assert rank_proxies(**small, shard=f"{index}/2", run_dir=tmp_path / f"part{index}") == []
    united = rank_proxies(merge=str(tmp_path), overrides=["resamples=20"])
    assert [(r.proxy, r.spearman) for r in united] == [(r.proxy, r.spearman) for r in whole]


def test_a_line_that_says_nothing_of_a_proxy(tmp_path: Path) -> None:
    rank(tmp_path, "proxy=nwot", "teacher=none")
    lines = journal(tmp_path)
    for spoilt in ({"params": {"params": 1.0}}, {**lines[0]["parts"], "nwot": {}}):
        text = "\n".join(json.dumps(line) for line in [{**lines[0], "parts": spoilt}, *lines[1:]])
        (tmp_path / "scores.jsonl").write_text(text + "\n")
        with pytest.raises(UserError, match=r"says nothing of .*nwot.*remove the line"):
            rank(tmp_path, "proxy=nwot", "teacher=none")
