"""Records of searches, by what they found, and of trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diswot.errors import UserError
from diswot.runs import Run, find_runs
from diswot.tables.conditions import Conditions, but_for_seed, violation
from diswot.tables.records import Record, Skip, UnusableError, date_of
from diswot.tables.spec import STATISTICS

__all__ = ["of_searches", "of_trainings"]

_OF_SEARCH = ("seconds", "params", "flops")


def of_searches(runs: Sequence[Run], skip: Skip) -> list[Record]:
    """What the found architecture scores on every known data set, what it and the search cost.

    Args:
        runs: Finished ones; those of other commands are left out.
        skip: Called with searches that cannot be used.

    Raises:
        UserError: The accuracies of one space were read from several sources.
    """
    records: list[Record] = []
    _check_source(runs)
    for run in runs:
        if run.command == "search":
            try:
                records += list(_of_search(run))
            except UnusableError as problem:
                skip(run, str(problem))
    return records


def _check_source(runs: Sequence[Run]) -> None:
    first: dict[str, tuple[str, Run]] = {}
    for run in _searches(runs):
        known = run.result.get("benchmark")
        if isinstance(known, Mapping):
            source = str(known.get("source"))
            other, before = first.setdefault(str(run.result["space"]), (source, run))
            if other != source:
                raise UserError(
                    f"{before.path} has its accuracies from {other}, {run.path} from {source}: a "
                    "table needs one source; run the searches of the other again in a new folder"
                )


def _of_search(run: Run) -> Iterator[Record]:
    result = run.result
    common = {key: str(result.get(key) or "none") for key in ("space", "teacher", "strategy")}
    common |= {"proxy": str(result["proxy"]), "dataset": "", "target": ""}
    for standing in _standings(result):
        where = {key: str(standing.get(key)) for key in ("dataset", "target")}
        best = standing.get("best_accuracy")
        values = {name: _number(standing, name) for name in ("accuracy", "rank")}
        if best is not None:
            values["regret"] = _number(standing, "best_accuracy") - values["accuracy"]
        yield from _records(run, {**common, **where}, values)
    yield from _records(run, common, {name: _number(result, name) for name in _OF_SEARCH})


def _standings(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """None where the benchmark was not at hand."""
    known = result.get("benchmark")
    found = known.get("standings") if isinstance(known, Mapping) else []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise UnusableError("the standings in result.json are damaged")
    return found


def of_trainings(runs: Sequence[Run], conditions: Conditions, skip: Skip) -> list[Record]:
    """Accuracy, size and speed of what was trained.

    Args:
        runs: Finished ones: trainings, and the searches their students come from.
        conditions: On the searches; trainings that do not meet them are not among the runs.
        skip: Called with trainings that cannot be used.
    """
    searches = {run.path.resolve(): run for run in _searches(runs)}
    records: list[Record] = []
    for run in runs:
        if run.command == "train":
            try:
                records += list(_of_training(run, searches, conditions))
            except UnusableError as problem:
                skip(run, str(problem))
    return records


def _searches(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.command == "search" and run.state == "finished"]


def _of_training(
    run: Run, searches: Mapping[Path, Run], conditions: Conditions
) -> Iterator[Record]:
    result = run.result
    distillers = result["distiller"]
    if not isinstance(distillers, list):
        raise UnusableError("the distiller in result.json is damaged")
    search = _search_of(run, searches)
    if search and (problem := violation(search, conditions)):
        raise UnusableError(f"its search, {search.path}: {problem}")
    fields = {
        "student": str(result["student"]),
        "found_by": str(search.result["proxy"]) if search else "",
        "teacher": str(result.get("teacher") or "none"),
        "distiller": "+".join(map(str, distillers)) or "alone",
        "data": str(result.get("data")),
    }
    names = STATISTICS["trainings"]
    values = {name: _number(result, name) for name in names}
    yield from _records(run, fields, values, search)


def _search_of(run: Run, searches: Mapping[Path, Run]) -> Run | None:
    """The search a student comes from; of its folder nothing but data is read."""
    student = run.config.get("student")
    named = student.get("run") if isinstance(student, Mapping) else None
    if not named:
        return None
    path = Path(str(named)).expanduser()
    search = searches.get(path.resolve()) or _elsewhere(path)
    if not search:
        raise UnusableError(f"its search, {path}, is not there or not finished")
    return search


def _elsewhere(path: Path) -> Run | None:
    """A finished search in another folder."""
    if not (path / "result.json").is_file():  # no walk through a folder that is no run
        return None
    searches = _searches(find_runs([path]))
    return next((run for run in searches if run.path == path), None)


def _records(
    run: Run, fields: Mapping[str, str], values: Mapping[str, float], search: Run | None = None
) -> Iterator[Record]:
    settings = but_for_seed(run, search)
    seed = int(_number(run.result, "seed"))
    for name, value in values.items():
        told = {**fields, "statistic": name}
        yield Record(told, value, (seed,), (run.path,), date_of([run]), settings=settings)


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UnusableError(f"{key} in result.json is {value!r}, no number")
    return float(value)
