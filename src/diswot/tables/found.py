"""Records of searches, by what they found, and of trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diswot.errors import UserError
from diswot.reporting.runs import Run, find_runs
from diswot.tables.records import Record, Skip, UnusableError, date_of
from diswot.tables.spec import STATISTICS

__all__ = ["of_searches", "of_trainings"]

_OF_SEARCH = ("seconds", "params", "flops")


def of_searches(runs: Sequence[Run], skip: Skip) -> list[Record]:
    """What the found architecture scores on every known data set, what it and the search cost.

    Args:
        runs: Finished ones; those of other commands are left out.
        skip: Told of searches that cannot be used.

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


def of_trainings(runs: Sequence[Run], skip: Skip) -> list[Record]:
    """Accuracy, size and speed of what was trained.

    Args:
        runs: Finished ones: trainings, and the searches their students come from.
        skip: Told of trainings that cannot be used.
    """
    proxies = {run.path.resolve(): str(run.result["proxy"]) for run in _searches(runs)}
    records: list[Record] = []
    for run in runs:
        if run.command == "train":
            try:
                records += list(_of_training(run, proxies))
            except UnusableError as problem:
                skip(run, str(problem))
    return records


def _searches(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.command == "search" and run.state == "finished"]


def _of_training(run: Run, proxies: Mapping[Path, str]) -> Iterator[Record]:
    result = run.result
    distillers = result["distiller"]
    if not isinstance(distillers, list):
        raise UnusableError("the distiller in result.json is damaged")
    fields = {
        "student": str(result["student"]),
        "found_by": _found_by(run, proxies),
        "teacher": str(result.get("teacher") or "none"),
        "distiller": "+".join(map(str, distillers)) or "alone",
        "data": str(result.get("data")),
    }
    names = STATISTICS["trainings"]
    yield from _records(run, fields, {name: _number(result, name) for name in names})


def _found_by(run: Run, proxies: Mapping[Path, str]) -> str:
    """The proxy of the search a student comes from; of its folder nothing but data is read."""
    student = run.config.get("student")
    named = student.get("run") if isinstance(student, Mapping) else None
    if not named:
        return ""
    path = Path(str(named)).expanduser()
    proxy = proxies.get(path.resolve()) or _proxy_of(path)
    if not proxy:
        raise UnusableError(f"its search, {path}, is not there or not finished")
    return proxy


def _proxy_of(path: Path) -> str:
    """Of a finished search, else empty."""
    if not (path / "result.json").is_file():  # no walk through a folder that is no run
        return ""
    searches = _searches(find_runs([path]))
    return next((str(run.result["proxy"]) for run in searches if run.path == path), "")


def _records(run: Run, fields: Mapping[str, str], values: Mapping[str, float]) -> Iterator[Record]:
    seed = int(_number(run.result, "seed"))
    for name, value in values.items():
        told = {**fields, "statistic": name}
        yield Record(told, value, (seed,), (run.path,), date_of([run]))


def _number(values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UnusableError(f"{key} in result.json is {value!r}, no number")
    return float(value)
