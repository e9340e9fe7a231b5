import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr
from table_helpers import read_results, write_csv, write_table

from diswot.accuracies import benchmark_of
from diswot.commands import compose
from diswot.errors import UserError
from diswot.rank import run_rank
from diswot.search import run_search
from diswot.tables import collect

KIND = {"kind": "correlations", "row": "{proxy}", "column": "{target} {statistic}"}
SUMS = {"raw": ["random", "layers"], "ranks": {"rank": ["random", "layers"]}, "no": ["nwot"]}
TINY = [
    *("space=s0", "teacher=none", "data=gaussian", "data.image_size=16", "data.batch_size=6"),
    *("proxy=[random,layers]", "device=cpu", "workers=1"),
]


@pytest.fixture(scope="module")
def no_pictures(known_costs: None) -> Iterator[None]:
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


def test_an_exhaustive_search_is_a_ranking_of_its_seeds(searches: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, runs=str(searches), sums=SUMS, **KIND)
    assert collect(table).used == 2
    results = read_results(table)
    assert {row for row, _ in results} == {"random", "layers", "raw", "ranks", "params", "flops"}
    known = benchmark_of(compose("search", ["space=s0"], None))
    tables = [pd.read_csv(searches / f"seed{seed}/candidates.csv") for seed in (0, 1)]
    tables = [each.set_index("arch").loc[list(known.archs())] for each in tables]
    given = {
        "random": [each["score"] for each in tables],
        "layers": [each["score_layers"] for each in tables],
        "raw": [each["score"] + each["score_layers"] for each in tables],
        "ranks": [each["score"].rank() + each["score_layers"].rank() for each in tables],
    }
    truth = [known.accuracy(arch, "cifar100", "distilled") for arch in known.archs()]
    for name, statistic in {"spearman": spearmanr, "kendall": kendalltau}.items():
        for row, scores in given.items():
            line = results[row, f"distilled {name}"]
            values = [statistic(each, truth)[0] for each in scores]
            assert float(line["value"]) == pytest.approx(np.mean(values), abs=1e-5)
            assert float(line["std"]) == pytest.approx(np.std(values, ddof=1), abs=1e-5)
            assert float(line["low"]) < float(line["value"]) < float(line["high"])
            assert line["seeds"] == "2"
    assert float(results["params", "distilled spearman"]["value"]) == pytest.approx(0.968, abs=5e-4)
    assert float(results["flops", "distilled spearman"]["value"]) == pytest.approx(0.814, abs=5e-4)


def test_a_ranking_is_taken_as_it_is_and_agrees_with_searches(
    searches: Path, ranking: Path, tmp_path: Path
) -> None:
    lines = {}
    for runs in (searches, ranking):
        table = write_table(tmp_path / runs.name, runs=str(runs), sums=SUMS, **KIND)
        collect(table)
        lines[runs] = {
            key: [line[name] for name in ("value", "low", "high")]
            for key, line in read_results(table).items()
        }
    assert lines[ranking] == lines[searches]
    for line in pd.read_csv(ranking / "rank.csv").to_dict("records"):
        for name in ("spearman", "kendall"):
            theirs = [line[name], line[f"{name}_lo"], line[f"{name}_hi"]]
            ours = lines[ranking][line["proxy"], f"{line['target']} {name}"]
            assert [*map(float, ours)] == pytest.approx(theirs, abs=1e-5)


def test_two_rankings_in_one_cell_are_refused(ranking: Path, tmp_path: Path) -> None:
    shutil.copytree(ranking, tmp_path / "runs/a")
    shutil.copytree(ranking, tmp_path / "runs/b")
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"), **KIND)
    assert collect(table).used == 2  # equal figures, as of a ranking that was copied
    file = tmp_path / "runs/b/rank.csv"
    pd.read_csv(file).assign(spearman=0.5).to_csv(file, index=False)
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
    problems = {Path(line.partition(": ")[0]).name: line for line in collected.skipped}
    expected = {
        **{"part": "1 of 64 architectures were not scored", "odd": "it lacks flops, params"},
        **{"other": "no accuracies are known of space mine", "wide": "holds for space.widths"},
        **{"cut": "rank.csv is damaged", "seed0": f"the same search as {runs / 'again'}"},
        **{"seeds": "result.json cannot be read", "proxies": "are damaged"},
    }
    assert (collected.used, {*problems}) == (2, {*expected})
    assert all(problem in problems[name] for name, problem in expected.items())


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
