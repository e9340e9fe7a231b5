from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata, spearmanr
from table_helpers import read_results, write_csv, write_table

from diswot.accuracies import benchmark_of
from diswot.commands import compose
from diswot.errors import UserError
from diswot.rank import run_rank
from diswot.search import run_search
from diswot.tables import collect

KIND = {"kind": "correlations", "row": "{proxy}", "column": "{target} {statistic}"}
TINY = [
    "space=s0",
    "teacher=none",
    "data=gaussian",
    "data.image_size=16",
    "data.batch_size=6",
    "proxy=[random,layers]",
    "device=cpu",
    "workers=1",
]


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Drawing takes longer than everything else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diswot.reporting.rank.plot_rank", lambda *_: None)
        patch.setattr("diswot.reporting.search.plot_search", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """All of S0, two seeds, scored by what needs no forward pass."""
    folder = tmp_path_factory.mktemp("searches")
    for seed in (0, 1):
        words = [*TINY, "strategy=exhaustive", "budget=none", f"seed={seed}"]
        run_search(compose("search", words, None), folder / f"seed{seed}", quiet=True)
    return folder


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """The same as a ranking."""
    folder = tmp_path_factory.mktemp("ranking") / "one"
    run_rank(compose("rank", [*TINY, "seeds=2"], None), folder, quiet=True)
    return folder


def scores(searches: Path, column: str) -> dict[int, dict[str, float]]:
    found = {}
    for seed in (0, 1):
        with (searches / f"seed{seed}/candidates.csv").open(newline="") as text:
            found[seed] = {line["arch"]: float(line[column]) for line in csv.DictReader(text)}
    return found


def test_an_exhaustive_search_is_a_ranking_of_its_seeds(searches: Path, tmp_path: Path) -> None:
    sums = {"raw": ["random", "layers"], "ranks": {"rank": ["random", "layers"]}}
    table = write_table(tmp_path, runs=str(searches), sums=sums, **KIND)
    assert collect(table).used == 2
    found = read_results(table)
    assert {row for row, _ in found} == {"random", "layers", "raw", "ranks", "params", "flops"}
    known = benchmark_of(compose("search", ["space=s0"], None))
    truth = [known.accuracy(arch, "cifar100", "distilled") for arch in known.archs()]
    for column, row in {"score": "random", "score_layers": "layers"}.items():
        given = [[s[a] for a in known.archs()] for s in scores(searches, column).values()]
        _check(found[row, "distilled spearman"], [spearmanr(g, truth)[0] for g in given])
        _check(found[row, "distilled kendall"], [kendalltau(g, truth)[0] for g in given])
    assert float(found["params", "distilled spearman"]["value"]) == pytest.approx(0.968, abs=5e-4)
    assert float(found["flops", "distilled spearman"]["value"]) == pytest.approx(0.814, abs=5e-4)


def _check(line: dict[str, str], values: list[float]) -> None:
    assert float(line["value"]) == pytest.approx(np.mean(values), abs=1e-5)
    assert float(line["std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-5)
    assert float(line["low"]) < float(line["value"]) < float(line["high"])
    assert line["seeds"] == "2"


def test_sums_add_scores_or_their_ranks(searches: Path, tmp_path: Path) -> None:
    sums = {"raw": ["random", "layers"], "ranks": {"rank": ["random", "layers"]}, "no": ["nwot"]}
    table = write_table(tmp_path, runs=str(searches), sums=sums, **KIND)
    collect(table)
    found = read_results(table)
    known = benchmark_of(compose("search", ["space=s0"], None))
    archs = known.archs()
    truth = [known.accuracy(arch, "cifar100", "vanilla") for arch in archs]
    first, second = scores(searches, "score"), scores(searches, "score_layers")
    pairs = [([first[s][a] for a in archs], [second[s][a] for a in archs]) for s in (0, 1)]
    raw = [spearmanr(np.add(*pair), truth)[0] for pair in pairs]
    ranks = [spearmanr(rankdata(a) + rankdata(b), truth)[0] for a, b in pairs]
    _check(found["raw", "vanilla spearman"], raw)
    _check(found["ranks", "vanilla spearman"], ranks)
    assert "no" not in {row for row, _ in found}


def test_a_ranking_is_taken_as_it_is(ranking: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, runs=str(ranking), sums={"both": ["random", "layers"]}, **KIND)
    assert collect(table).used == 1
    found = read_results(table)
    with (ranking / "rank.csv").open(newline="") as text:
        for line in csv.DictReader(text):
            for name in ("spearman", "kendall"):
                ours = found[line["proxy"], f"{line['target']} {name}"]
                for mine, theirs in {"value": "", "low": "_lo", "high": "_hi"}.items():
                    assert float(ours[mine]) == pytest.approx(float(line[name + theirs]), abs=1e-5)
                assert ours["seeds"] == "2"
    assert {row for row, _ in found} == {"random", "layers", "params", "flops", "both"}
    assert -1 <= float(found["both", "distilled kendall"]["value"]) <= 1


def test_searches_and_a_ranking_of_one_space_agree(
    searches: Path, ranking: Path, tmp_path: Path
) -> None:
    sums = {"both": ["random", "layers"]}
    found = []
    for name, runs in (("searched", searches), ("ranked", ranking)):
        table = write_table(tmp_path / name, runs=str(runs), sums=sums, **KIND)
        collect(table)
        lines = read_results(table).items()
        found.append(
            {key: [line[name] for name in ("value", "low", "high")] for key, line in lines}
        )
    assert found[0] == found[1]


def test_two_rankings_in_one_cell_are_refused(ranking: Path, tmp_path: Path) -> None:
    shutil.copytree(ranking, tmp_path / "runs/a")
    shutil.copytree(ranking, tmp_path / "runs/b")
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"), **KIND)
    assert collect(table).used == 2  # equal figures, as of a ranking that was copied
    text = (tmp_path / "runs/b/rank.csv").read_text()
    value = next(csv.DictReader(text.splitlines()))["spearman"]
    (tmp_path / "runs/b/rank.csv").write_text(text.replace(value, "0.5"))
    with pytest.raises(UserError, match=r"runs/a and .*runs/b both belong there"):
        collect(table)


def test_what_cannot_be_used_is_told(searches: Path, ranking: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(searches / "seed0", runs / "again")
    shutil.copytree(searches, runs / "good")
    for name in ("part", "odd", "other", "wide", "seeds", "proxies"):
        shutil.copytree(searches / "seed0", runs / name)
        _change(runs / name / "config.json", batch=name)
    lines = (runs / "part/candidates.csv").read_text().splitlines()
    (runs / "part/candidates.csv").write_text("\n".join(lines[:-1]) + "\n")
    write_csv(runs / "odd/candidates.csv", "arch,score", ["s0:1-1-1", 1])
    _change(runs / "other/result.json", space="mine")
    _change(runs / "wide/config.json", space={"name": "s0", "widths": [8, 8, 8, 8]})
    _change(runs / "seeds/result.json", seed=[0])
    _change(runs / "proxies/config.json", proxy=5)
    shutil.copytree(ranking, runs / "cut")
    (runs / "cut/rank.csv").unlink()
    collected = collect(write_table(tmp_path / "t", runs=str(runs), **KIND))
    told = {Path(line.partition(": ")[0]).name: line for line in collected.skipped}
    assert "1 of 64 architectures were not scored" in told["part"]
    assert "it lacks flops, params" in told["odd"]
    assert "no accuracies are known of space mine" in told["other"]
    assert "holds for space.widths" in told["wide"]
    assert "rank.csv is damaged" in told["cut"]
    assert f"the same search as {runs / 'again'}" in told["seed0"]
    assert "result.json cannot be read" in told["seeds"]
    assert "are damaged" in told["proxies"]
    assert (collected.used, len(told)) == (2, 8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rank.csv", None),
        ("scores.csv", ""),
        ("scores.csv", "arch,seed\n"),
        ("scores.csv", "arch,seed,params,flops,cifar100_vanilla,cifar100_distilled\n"),
        ("result.json", None),
    ],
)
def test_damaged_rankings_are_told(
    ranking: Path, tmp_path: Path, name: str, content: str | None
) -> None:
    run = shutil.copytree(ranking, tmp_path / "runs/a")
    if content is not None:
        (run / name).write_text(content)
    elif name == "rank.csv":
        text = (run / name).read_text()
        (run / name).write_text(text.replace("random", 'ra"n', 1).replace(",0.", ",x.", 3))
    else:
        _change(run / name, seeds=[0, 7])
    sums = {"both": ["random", "layers"]}
    table = write_table(tmp_path / "t", runs=str(run), sums=sums, **KIND)
    with pytest.raises(UserError, match=r"holds no finished run(.|\n)*runs/a: "):
        collect(table)


def _change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
