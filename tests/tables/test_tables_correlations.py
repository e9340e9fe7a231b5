import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import kendalltau
from table_helpers import read_results, write_table

from diswot.commands import compose
from diswot.errors import UserError
from diswot.rank import run_rank
from diswot.tables import collect

KIND = {"kind": "correlations", "row": "{proxy}", "column": "{target} {statistic}"}
TINY = [
    *("space=s0", "teacher=none", "data=gaussian", "data.image_size=16", "data.batch_size=6"),
    *("proxy=[random,layers]", "device=cpu", "workers=1", "seeds=2"),
]


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory, known_costs: None) -> Path:
    """All of S0, two seeds, scored by what needs no forward pass."""
    folder = tmp_path_factory.mktemp("ranking") / "one"
    with pytest.MonkeyPatch.context() as patch:  # drawing takes longer than everything else
        patch.setattr("diswot.reporting.rank.plot_rank", lambda *_: None)
        run_rank(compose("rank", TINY, None), folder, quiet=True)
    return folder


def test_a_ranking_is_taken_as_it_is(ranking: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, runs=str(ranking), **KIND)
    assert collect(table).used == 1
    results = read_results(table)
    assert [row for row, _ in results][::4][2:] == ["params", "flops"]
    for line in pd.read_csv(ranking / "rank.csv").to_dict("records"):
        for name in ("spearman", "kendall"):
            theirs = [line[f"{name}{end}"] for end in ("", "_std", "_lo", "_hi")]
            ours = results[line["proxy"], f"{line['target']} {name}"]
            own = [float(ours[key]) for key in ("value", "std", "low", "high")]
            assert own == pytest.approx(theirs, abs=1e-5)
            assert ours["seeds"] == "2"
    assert float(results["params", "distilled spearman"]["value"]) == pytest.approx(0.968, abs=5e-4)
    assert float(results["flops", "distilled spearman"]["value"]) == pytest.approx(0.814, abs=5e-4)


def test_the_spread_of_kendall_is_that_over_seeds(ranking: Path) -> None:
    scores = pd.read_csv(ranking / "scores.csv").groupby("seed")
    taus = [kendalltau(own["random"], own["cifar100_vanilla"])[0] for _, own in scores]
    rows = pd.read_csv(ranking / "rank.csv").set_index(["proxy", "target"])
    assert rows.loc[("random", "vanilla"), "kendall_std"] == pytest.approx(pd.Series(taus).std())


def test_two_rankings_in_one_cell_are_refused(ranking: Path, tmp_path: Path) -> None:
    shutil.copytree(ranking, tmp_path / "runs/a")
    shutil.copytree(ranking, tmp_path / "runs/b")
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"), **KIND)
    assert collect(table).used == 2  # equal figures, as of a ranking that was copied
    file = tmp_path / "runs/b/rank.csv"
    pd.read_csv(file).assign(spearman=0.5).to_csv(file, index=False)
    with pytest.raises(UserError, match=r"runs/a and .*runs/b both belong there"):
        collect(table)


@pytest.mark.parametrize("name", ["rank.csv", "result.json", ""])
def test_damaged_rankings_are_told(ranking: Path, tmp_path: Path, name: str) -> None:
    run = shutil.copytree(ranking, tmp_path / "runs/a")
    if name == "rank.csv":
        text = (run / name).read_text()
        (run / name).write_text(text.replace("random", 'ra"n', 1).replace(",0.", ",x.", 3))
    elif name:
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, "seeds": 0}))
    else:
        (run / "rank.csv").unlink()
    table = write_table(tmp_path / "t", runs=str(run), **KIND)
    with pytest.raises(UserError, match=r"holds no finished run(.|\n)*runs/a: "):
        collect(table)
