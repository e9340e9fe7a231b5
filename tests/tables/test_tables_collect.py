import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from table_helpers import read_results, search, training, write_run, write_table

from diswot.errors import UserError
from diswot.tables import collect, load_table

FOUND_BY = {"row": "{found_by}", "column": "{statistic}"}
COLUMNS = {"row": "{student} {found_by} {distiller}", "column": "{statistic}"}


def test_seeds_become_mean_and_deviation(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([90.0, 91.0, 93.5]):
        search(tmp_path / f"runs/{seed}", seed, accuracy)
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"))
    collected = collect(table)
    assert (collected.used, collected.skipped) == (3, ())
    results = read_results(table)
    assert set(results) == {
        *(("nwot random", f"cifar10 {name}") for name in ("accuracy", "rank", "regret")),
        *(("nwot random", name) for name in ("seconds", "params", "flops")),
    }
    line = results["nwot random", "cifar10 accuracy"]
    assert float(line["value"]) == 91.5
    assert float(line["std"]) == pytest.approx(stdev([90.0, 91.0, 93.5]), abs=1e-4)
    assert (line["low"], line["seeds"], line["runs"]) == ("", "3", "3")
    assert line["scale"] == "tiny; accuracies: a.csv"
    assert line["date"] == datetime.now(UTC).date().isoformat()
    assert float(results["nwot random", "cifar10 regret"]["value"]) == 2.5
    assert float(results["nwot random", "seconds"]["value"]) == 3.0
    assert load_table(table).cells["nwot random", "cifar10 accuracy"].seeds == 3


def test_where_names_and_other_runs(tmp_path: Path) -> None:
    search(tmp_path / "runs/0", 0, 90.0)
    search(tmp_path / "elsewhere/0", 0, 80.0, source="/some/where/b.csv")
    spec: dict[str, Any] = {"where": {"statistic": "accuracy"}, "names": {"nwot random": "NWOT"}}
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"), **spec)
    collect(table)
    assert {key: line["value"] for key, line in read_results(table).items()} == {
        ("NWOT", "cifar10 accuracy"): "90"
    }
    other = write_table(tmp_path / "t", runs=str(tmp_path / "elsewhere"), **spec)
    collect(other)
    (line,) = read_results(other).values()
    assert (line["value"], line["seeds"], line["std"]) == ("80", "1", "")
    assert line["scale"] == "tiny; accuracies: b.csv"  # not where it lies on this machine


def test_rows_and_columns_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for place, proxy in enumerate(["a", "b", "c", "d"]):
        search(tmp_path / f"runs/{place}", 0, 90.0 + place, proxy=proxy)
    names = {"params": "size", "c random": "C", "cifar10 accuracy": "top-1", "b random": "B"}
    table = write_table(tmp_path / "t", runs=str(tmp_path / "runs"), names=names)
    collect(table)
    loaded = load_table(table)
    assert loaded.rows == ("C", "B", "a random", "d random")
    assert loaded.columns == ("size", "top-1", "cifar10 rank", "cifar10 regret", "seconds", "flops")


def test_what_did_not_finish_is_named_and_not_counted(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    search(runs / "good", 0, 90.0)
    search(runs / "half", 1, 0.0, finished=False)
    search(runs / "odd", 2, 0.0)
    odd = (runs / "odd/result.json").read_text().replace('"params": 1002', '"params": Infinity')
    (runs / "odd/result.json").write_text(odd)
    (write_run(runs / "cut", {}, None) / "result.json").write_text('{"arch": ')
    (runs / "notes").mkdir()
    collected = collect(write_table(tmp_path / "t", runs=str(runs)))
    assert collected.used == 1
    assert {line["runs"] for line in read_results(tmp_path / "t").values()} == {"1"}
    for line, (name, why) in zip(
        sorted(collected.skipped),
        {
            **{"cut": "result.json cannot be read", "half": "killed before it could say why"},
            **{"notes": "no config, result or journal", "odd": "result.json cannot be read"},
        }.items(),
        strict=True,
    ):
        assert line.startswith(f"{runs / name}: {why}")


def test_no_run_of_use_is_refused(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    table = write_table(tmp_path / "t", runs=str(runs), small=["search experiment=a"])
    with pytest.raises(UserError, match=r"is no folder .*python -m diswot\.search experiment=a"):
        collect(table)
    with pytest.raises(UserError, match="no small runs are named"):
        collect(write_table(tmp_path / "empty"))
    search(runs / "half", 1, 0.0, finished=False)
    with pytest.raises(UserError, match=r"holds no finished run(.|\n)*half: "):
        collect(table)
    assert not (table / "results.csv").exists()


def test_labels_must_tell_runs_apart(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    search(runs / "a", 0, 90.0)
    search(runs / "b", 0, 91.0, proxy="synflow")
    table = write_table(tmp_path / "t", runs=str(runs), row="{strategy}")
    with pytest.raises(UserError, match=r"row random.*runs/a and .*runs/b both belong there"):
        collect(table)
    assert collect(write_table(tmp_path / "t", runs=str(runs))).used == 2
    search(runs / "c", 1, 91.0, source="analog")
    with pytest.raises(UserError, match=r"from a\.csv, .* from analog"):
        collect(table)


def test_trainings_know_the_search_their_student_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for builder in ("diswot.config.make", "hydra.utils.instantiate"):
        monkeypatch.delattr(builder)  # nothing that a run names is built
    runs = tmp_path / "runs"
    search(runs / "found/a", 0, 90.0)
    search(tmp_path / "other", 0, 90.0, proxy="diswot")
    training(runs / "1", str(runs / "found/a"), 80.0)
    training(runs / "2", str(tmp_path / "other"), 81.0, distiller=["kd", "sp"])
    training(runs / "3", None, 70.0, distiller=[])
    training(runs / "4", str(tmp_path / "gone"), 1.0)
    training(runs / "5", "/", 1.0)
    table = write_table(tmp_path / "t", runs=str(runs), kind="trainings", **COLUMNS)
    collected = collect(table)
    results = {
        key[0]: line["value"] for key, line in read_results(table).items() if "top1" in key[1]
    }
    assert results == {
        **{"s0:1-1-1 nwot kd": "80", "s0:1-1-1 diswot kd+sp": "81", "s0:1-1-1 alone": "70"}
    }
    assert len([line for line in collected.skipped if "is not there or not finished" in line]) == 2
    assert read_results(table)["s0:1-1-1 alone", "images_per_second"]["value"] == "5.5"


def change(run: Path, file: str = "config.json", **values: Any) -> Path:
    content = json.loads((run / file).read_text())
    (run / file).write_text(json.dumps({**content, **values}))
    return run


def test_runs_that_the_scale_does_not_cover_are_left_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    search(runs / "good", 0, 90.0)
    search(runs / "seed", 7, 10.0)
    change(search(runs / "long", 1, 10.0), strategy={"name": "random", "evaluations": 500})
    change(search(runs / "wide", 1, 10.0), space={"name": "nasbench201", "widths": [8, 8]})
    conditions = {
        **{"seed": [0, 1], "strategy.evaluations": None, "space.widths": [None, [4, 4]]},
        **{"result.space": "nasbench201", "rank": {"seeds": 3}},
    }
    table = write_table(tmp_path / "t", runs=str(runs), conditions=conditions)
    collected = collect(table)
    assert (collected.used, len(collected.skipped)) == (1, 3)
    assert {line["value"] for line in read_results(table).values()} >= {"90"}
    problems = "\n".join(collected.skipped)
    assert f"{runs / 'seed'}: seed is 7; the table takes 0 or 1 (conditions)" in problems
    assert f"{runs / 'long'}: strategy.evaluations is 500; the table takes null" in problems
    assert f"{runs / 'wide'}: space.widths is [8, 8]; the table takes null or [4, 4]" in problems


def test_the_search_of_a_student_meets_the_conditions_too(tmp_path: Path) -> None:
    origin = change(search(tmp_path / "found", 0, 90.0), strategy={"evaluations": 5})
    training(tmp_path / "runs/a", str(origin), 80.0)
    conditions = {"search": {"strategy.evaluations": 60}, "train": {"protocol.name": "short"}}
    table = write_table(
        tmp_path / "t",
        **{"runs": str(tmp_path / "runs"), "kind": "trainings", "conditions": conditions},
        **FOUND_BY,
    )
    with pytest.raises(UserError, match=r"its search, .*found: strategy\.evaluations is 5; the"):
        collect(table)
    change(origin, strategy={"evaluations": 60})
    assert collect(table).used == 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"num_classes": 10}, "num_classes is 10 in one"),
        ({"strategy": {"name": "random", "evaluations": 50}}, "strategy.evaluations is 50 in one"),
    ],
)
def test_runs_of_other_settings_are_not_united(
    tmp_path: Path, values: dict[str, Any], difference: str, seed: int
) -> None:
    runs = tmp_path / "runs"
    change(search(runs / "a", 0, 90.0), **values)
    search(runs / "b", seed, 91.0)
    table = write_table(tmp_path / "t", runs=str(runs))
    with pytest.raises(UserError) as caught:
        collect(table)
    assert f"{difference}, not set in the other" in str(caught.value)
    assert f"{runs / 'a'} and {runs / 'b'} are no seeds of one figure" in str(caught.value)
    change(search(runs / "c", 1, 91.0), **values, workers=4, data={"shuffle_seed": 1})
    shutil.rmtree(runs / "b")
    assert collect(table).used == 2


def test_students_of_several_seeds_are_one_figure(tmp_path: Path) -> None:
    """Each seed has its own search and student; sizes are the same whatever the losses."""
    runs = tmp_path / "runs"
    for seed in (0, 1):
        origin = search(runs / f"found{seed}", seed, 90.0)
        for place, top1 in enumerate([80.0 + seed, 70.0 + seed]):
            run = training(runs / f"{(place + seed) % 2}-{place}-{seed}", str(origin), top1)
            losses = ["kd"] if place else []
            change(run, "result.json", seed=seed, params=100 + seed, distiller=losses)
            student = {"run": str(origin), "arch": f"arch{seed}"}
            change(run, seed=seed, student=student, distiller={name: {} for name in losses})
    names = {"alone params": "params", "kd params": "params"}
    spec = {"kind": "trainings", "row": "{found_by}", "column": "{distiller} {statistic}"}
    where = {"statistic": ["params", "test_top1"]}
    table = write_table(tmp_path / "t", runs=str(runs), names=names, where=where, **spec)
    collect(table)
    lines = read_results(table)
    assert {key[1]: (line["value"], line["seeds"]) for key, line in lines.items()} == {
        **{"params": ("100.5", "2"), "alone test_top1": ("80.5", "2")},
        "kd test_top1": ("70.5", "2"),
    }
    change(runs / "found1", strategy={"name": "random", "evaluations": 5})
    with pytest.raises(UserError, match=r"search strategy\.evaluations"):
        collect(table)


def test_one_run_that_fills_a_cell_twice_is_named_once(tmp_path: Path) -> None:
    run = search(tmp_path / "runs/a", 0, 90.0)
    standing = json.loads((run / "result.json").read_text())["benchmark"]["standings"][0]
    standings = [standing, {**standing, "dataset": "cifar100", "accuracy": 2.0}]
    change(run, "result.json", benchmark={"source": "a", "standings": standings})
    table = write_table(tmp_path / "t", runs=str(run), column="{statistic}")
    with pytest.raises(UserError, match=r"two figures of .*runs/a belong .* differ in dataset;"):
        collect(table)
