from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from table_helpers import read_results, search, training, write_table

from diswot.errors import UserError
from diswot.tables import collect

COLUMNS = {"row": "{found_by}", "column": "{statistic}"}


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
    told = "\n".join(collected.skipped)
    assert f"{runs / 'seed'}: seed is 7; the table takes 0 or 1 (conditions)" in told
    assert f"{runs / 'long'}: strategy.evaluations is 500; the table takes null" in told
    assert f"{runs / 'wide'}: space.widths is [8, 8]; the table takes null or [4, 4]" in told
    change(runs / "long", strategy={"name": "random"})
    other = collect(table, runs=runs / "seed", scale="other seeds")
    assert (other.used, other.skipped) == (1, ())


def test_the_search_of_a_student_meets_the_conditions_too(tmp_path: Path) -> None:
    found = change(search(tmp_path / "found", 0, 90.0), strategy={"evaluations": 5})
    training(tmp_path / "runs/a", str(found), 80.0)
    conditions = {"search": {"strategy.evaluations": 60}, "train": {"protocol.name": "short"}}
    table = write_table(
        tmp_path / "t",
        **{"runs": str(tmp_path / "runs"), "kind": "trainings", "conditions": conditions},
        **COLUMNS,
    )
    with pytest.raises(UserError, match=r"its search, .*found: strategy\.evaluations is 5; the"):
        collect(table)
    change(found, strategy={"evaluations": 60})
    assert collect(table).used == 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_classes": 10}, "num_classes is 10 in one"),
        ({"strategy": {"name": "random", "evaluations": 50}}, "strategy.evaluations is 50 in one"),
    ],
)
def test_runs_of_other_settings_are_not_united(
    tmp_path: Path, values: dict[str, Any], said: str, seed: int
) -> None:
    runs = tmp_path / "runs"
    change(search(runs / "a", 0, 90.0), **values)
    search(runs / "b", seed, 91.0)
    table = write_table(tmp_path / "t", runs=str(runs))
    with pytest.raises(UserError) as caught:
        collect(table)
    assert f"{said}, not set in the other" in str(caught.value)
    assert f"{runs / 'a'} and {runs / 'b'} are no seeds of one figure" in str(caught.value)
    change(search(runs / "c", 1, 91.0), **values, workers=4, data={"shuffle_seed": 1})
    shutil.rmtree(runs / "b")
    assert collect(table).used == 2


def test_students_of_several_seeds_are_one_figure(tmp_path: Path) -> None:
    """Each seed has its own search and student; sizes are the same whatever the losses."""
    runs = tmp_path / "runs"
    for seed in (0, 1):
        found = search(runs / f"found{seed}", seed, 90.0)
        for place, top1 in enumerate([80.0 + seed, 70.0 + seed]):
            run = training(runs / f"{(place + seed) % 2}-{place}-{seed}", str(found), top1)
            losses = ["kd"] if place else []
            change(run, "result.json", seed=seed, params=100 + seed, distiller=losses)
            student = {"run": str(found), "arch": f"arch{seed}"}
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
