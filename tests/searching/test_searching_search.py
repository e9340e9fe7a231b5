"""What a search scores, counts and records; the same for any number of workers."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from searching_helpers import CHEAP, REAL, configured, searched

from diswot.errors import UserError
from diswot.scoring import setup
from diswot.search import run_search

Json = dict[str, Any]


def with_proxies(config: Json, **proxies: Json) -> Json:
    return {**config, "proxy": {n: {"name": n, **spec} for n, spec in proxies.items()}}


FRAGILE = {"_target_": "searching_plugins.Fragile"}
PARAMS = {"_target_": "diswot.proxies.cost.Params"}


@pytest.mark.slow
def test_any_number_of_workers(tmp_path: Path) -> None:
    settings = ["proxy.diswot.combine=rank", "proxy=[diswot,nwot]"]
    one = searched(tmp_path / "one", configured(REAL, *settings))
    assert searched(tmp_path / "several", configured(REAL, *settings, "workers=3")) == one


@pytest.mark.slow
def test_workers_may_change_in_the_middle_and_the_seed_matters(tmp_path: Path) -> None:
    whole = searched(tmp_path / "1", configured(REAL))
    searched(tmp_path / "2", configured(REAL, "strategy.evaluations=11"))
    assert searched(tmp_path / "2", configured(REAL, "workers=2")) == whole
    assert searched(tmp_path / "3", configured(REAL, "seed=1"))[0] != whole[0]


def test_repeats_are_not_scored_and_the_best_is_the_best(
    tmp_path: Path, measured: list[str]
) -> None:
    records, result = searched(tmp_path, configured(REAL))
    lines = [json.loads(line) for line in (tmp_path / "candidates.jsonl").read_text().splitlines()]
    archs = [record["arch"] for record in records]
    assert len(archs) == result["evaluated"] == 23
    assert sorted(measured) == sorted(set(archs))  # once each, those with blocks in common together
    assert result["distinct"] == len(measured) < 23
    assert [line["cached"] for line in lines] == [a in archs[:i] for i, a in enumerate(archs)]
    firsts: dict[str, Json] = {}
    for line in lines:
        assert (line["seconds"] == 0) is line["cached"]
        first = firsts.setdefault(line["arch"], line)
        same = {"cached": 0, "seconds": 0, "generation": 0, "crc32": 0}
        assert {**line, **same} == {**first, **same}
    generations = [0] * 5 + [1] * 3 + [2 + i // 5 for i in range(15)]
    assert [line["generation"] for line in lines] == generations
    best = max(records, key=lambda record: record["score"])
    assert all(result[key] == best[key] for key in ("arch", "score", "params", "flops"))
    scores = [row["score"] for row in result["top"]]
    assert scores == sorted(scores, reverse=True)
    assert len({row["arch"] for row in result["top"]}) == len(scores) == min(10, result["distinct"])


def test_exhaustive_stops_at_the_end_of_the_space(tmp_path: Path) -> None:
    settings = ["strategy=exhaustive", "space.depths=[1,3]", "strategy.generation=3"]
    records, result = searched(tmp_path / "all", configured(CHEAP, *settings))
    assert result["exhausted"]
    assert result["evaluated"] == result["distinct"] == 8
    more = configured(CHEAP, *settings, "strategy.evaluations=500")
    assert searched(tmp_path / "more", more)[0] == records


def test_several_proxies_are_recorded(tmp_path: Path) -> None:
    records, result = searched(tmp_path, configured(REAL, "proxy=[nwot,diswot,params]"))
    assert result["proxy"] == "nwot"
    for record in records:
        assert list(record["parts"]) == ["nwot"]
        assert list(record["others"]) == ["diswot", "params"]
        assert record["score"] == record["parts"]["nwot"]
        assert list(record["others"]["diswot"]) == ["semantic", "relation"]
        assert record["others"]["params"] == {"params": record["params"]}
    alone, _ = searched(tmp_path / "alone", configured(REAL, "strategy.evaluations=5"))
    parts = {record["arch"]: record["others"]["diswot"] for record in records}
    assert all(parts.get(r["arch"], r["parts"]) == r["parts"] for r in alone)


def test_the_teacher_runs_once_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = setup.summarize_teacher
    monkeypatch.setattr(setup, "summarize_teacher", lambda *a: (calls.append(1), real(*a))[1])
    settings = ["proxy=[diswot,semantic,relation]", "strategy.evaluations=9"]
    run_search(configured(REAL, *settings), tmp_path, quiet=True)
    assert len(calls) == 3  # the search's, and two under which the best are scored again


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_candidates_are_recorded(tmp_path: Path, workers: int) -> None:
    config = configured(CHEAP, "space.depths=[1,3]", f"workers={workers}")
    records, result = searched(tmp_path, with_proxies(config, fragile=FRAGILE, params=PARAMS))
    failed = [record for record in records if record["status"] == "failed"]
    assert result["failed"] == len(failed)
    assert 0 < len(failed) < len(records) == 20
    for record in records:
        arch = record["arch"]
        bad = arch.endswith(("-1", "1-3"))
        assert record["status"] == ("failed" if bad else "ok")
        assert (record["score"] is None) is bad
        assert record["others"] == {"params": {"params": record["params"]}}
        raised = f"fragile: ValueError: no {arch} (measure)"
        reason = raised if arch.endswith("-1") else "fragile: fragile is nan" if bad else None
        assert record["reason"] == reason
    assert all(row["arch"].endswith("3-3") for row in result["top"])
    assert '"score":null' in (tmp_path / "candidates.jsonl").read_text()


def test_a_failing_further_proxy_leaves_the_fitness(tmp_path: Path) -> None:
    config = configured(CHEAP, "space.depths=[1,3]")
    both = with_proxies(config, params=PARAMS, fragile=FRAGILE)
    records, result = searched(tmp_path / "random", both)
    assert result["failed"] == 0
    for record in records:
        bad = record["arch"].endswith(("-1", "1-3"))
        assert record["status"] == "ok"
        assert record["score"] == record["params"]
        assert record["others"] == {"fragile": None if bad else {"fragile": record["params"]}}
        assert (record["reason"] is not None) is bad
    config = configured(CHEAP, "strategy=evolution", "strategy.population=6", "strategy.sample=3")
    records, result = searched(tmp_path / "evolution", with_proxies(config, fragile=FRAGILE))
    assert len(records) == 20 > result["failed"]


def test_nothing_scored_is_an_error_each_time(tmp_path: Path) -> None:
    config = with_proxies(configured(CHEAP, "space.depths=[1]"), fragile=FRAGILE)
    for _ in range(2):
        with pytest.raises(UserError, match=r"none of 20 candidates could be scored; the first, ."):
            run_search(config, tmp_path, quiet=True)
    assert not (tmp_path / "result.json").exists()
    assert len((tmp_path / "candidates.jsonl").read_text().splitlines()) == 20


@pytest.mark.slow
def test_a_dead_worker_is_replaced_and_a_candidate_that_kills_twice_has_failed(
    tmp_path: Path,
) -> None:
    def deadly(log: Path, arch: str, times: int) -> Json:
        log.touch()
        target = "searching_plugins.Deadly"
        return {"_target_": target, "arch": arch, "times": times, "log": str(log)}

    once, always = tmp_path / "once", tmp_path / "always"
    config = with_proxies(
        configured(CHEAP, "space.depths=[1,3]", "workers=2"),
        deadly=deadly(once, "s0:1-3-1", 1),
        deadlier=deadly(always, "s0:3-1-3", 99),
    )
    records, result = searched(tmp_path / "run", config)
    assert (once.read_bytes(), always.read_bytes()) == (b"x", b"xx")
    killers = [record for record in records if record["arch"] == "s0:3-1-3"]
    others = [record for record in records if record["arch"] != "s0:3-1-3"]
    assert result["failed"] == len(killers) > 0
    assert all(record["status"] == "failed" for record in killers)
    assert "ended twice on this candidate (signal 9)" in killers[0]["reason"]
    assert "s0:1-3-1" in {record["arch"] for record in others}
    assert all(record["score"] == record["params"] for record in others)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_debug_stops_at_the_first_failing_candidate(tmp_path: Path, workers: int) -> None:
    config = configured(
        CHEAP, "space.depths=[1,3]", f"workers={workers}", "debug=true", "strategy.evaluations=2"
    )
    with pytest.raises(ValueError, match=r"fragile is nan|no s0:"):
        run_search(with_proxies(config, fragile=FRAGILE), tmp_path, quiet=True)


def test_a_module_beside_the_run_does_not_hide_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('this is no random')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", os.curdir)])
    config = configured(CHEAP, "workers=2")
    assert run_search(config, tmp_path / "run", quiet=True).evaluated == 20


def test_the_best_are_scored_again_under_other_seeds(tmp_path: Path) -> None:
    _, result = searched(tmp_path / "first", configured(REAL))
    best = [candidate["arch"] for candidate in result["top"][:5]]
    assert [*result["places"]] == ["0", "1", "2"]
    for seed, places in result["places"].items():
        same = [word for word in REAL if not word.startswith("strategy.")]
        config = configured(same, "strategy=exhaustive", f"seed={seed}")
        records, _ = searched(tmp_path / seed, config)
        scores = {record["arch"]: record["score"] for record in records}
        order = sorted(best, key=lambda arch: -scores[arch])
        assert places == [order.index(arch) + 1 for arch in best]
    assert searched(tmp_path / "size", configured(CHEAP))[1]["places"] == {}
