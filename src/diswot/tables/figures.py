"""The figures that runs give to a table, before seeds are united."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from diswot.config import MAY_GROW, flatten, identity
from diswot.errors import UserError
from diswot.runs import RankSummary, Run, SearchSummary, TrainSummary, find_runs
from diswot.tables.spec import STATISTICS, Spec, as_text

__all__ = ["Figure", "Skip", "figures_of", "violation"]

Skip = Callable[[Run, str], None]
"""Called with every run that does not enter the table, and why."""

_OF_SEED = ("seed", "data.shuffle_seed")
_OF_STUDENT = ("student.run", "student.arch")


@dataclass(frozen=True)
class Figure:
    """One figure of one run, or of runs that differ in the seed alone.

    ``fields`` tell it apart (see `diswot.tables.spec.FIELDS`); ``value``, None where it is not
    defined, is the mean over ``seeds``, ``std`` the standard deviation, ``low`` to ``high`` the
    95 % interval over architectures. ``paths`` are of the runs, ``date`` is of the newest result;
    ``settings`` are those that all runs of its cell must share, see `but_for_seed`.
    """

    fields: Mapping[str, str]
    value: float | None
    seeds: tuple[int, ...]
    paths: tuple[Path, ...]
    date: str
    std: float | None = None
    low: float | None = None
    high: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def figures_of(runs: Sequence[Run], spec: Spec, skip: Skip) -> list[Figure]:
    """All figures of finished runs for a table; nothing that a run names is built or opened.

    Raises:
        UserError: The accuracies of one space were read from several sources.
    """
    if spec.kind == "correlations":
        from diswot.tables.correlations import of_correlations

        return of_correlations(runs, spec, skip)
    found = [run for run in runs if run.command == "search"]
    if spec.kind == "searches":
        _check_source(found)
        return [figure for run in found for figure in skipping(skip, run, _of_search)]
    searches = {run.path.resolve(): run for run in found}
    trained = [run for run in runs if run.command == "train"]
    return [f for run in trained for f in skipping(skip, run, _of_training, searches, spec)]


def skipping(
    skip: Skip, run: Run, figures: Callable[..., Iterator[Figure]], *arguments: object
) -> list[Figure]:
    """The figures of a run, none where it cannot be used."""
    try:
        return list(figures(run, *arguments))
    except UserError as problem:
        skip(run, str(problem))
        return []


def violation(run: Run, spec: Spec) -> str | None:
    """The first setting of a run that is not what the conditions ask, in one line.

    A setting that a run does not have is taken as null.
    """
    known = dict(flatten(run.config)) | dict(flatten(run.result, "result."))
    for name, allowed in spec.conditions_of(run.command).items():
        if as_text(known.get(name)) not in allowed:
            value = as_text(known[name]) if name in known else "not set"
            return f"{name} is {value}; the table takes {' or '.join(allowed)} (conditions)"
    return None


def accuracies_from(run: Run) -> str | None:
    """The source of the accuracies of a ranking or a search; None where it has none."""
    if isinstance(run.summary, RankSummary):
        return run.summary.source
    if isinstance(run.summary, SearchSummary) and run.summary.benchmark:
        return run.summary.benchmark.source
    return None


def but_for_seed(run: Run, search: Run | None = None) -> dict[str, str]:
    """The settings that runs of several seeds must share to give one figure, as `as_text` has them.

    They are `diswot.config.identity`, what may grow and the source of accuracies; of a training
    whose student a search found, those of the search in place of what it found.
    """
    left_out = _OF_SEED if search is None else (*_OF_SEED, *_OF_STUDENT)
    try:
        settings = identity(run.config)
    except (TypeError, AttributeError) as error:
        raise UserError(f"the settings in config.json are damaged ({error})") from error
    settings |= {name: value for name, value in flatten(run.config) if name in MAY_GROW}
    settings["accuracies"] = accuracies_from(run)
    own = {name: as_text(value) for name, value in settings.items() if name not in left_out}
    if search is None:
        return own
    return own | {f"search {name}": value for name, value in but_for_seed(search).items()}


def date_of(runs: Sequence[Run]) -> str:
    """Of the newest result, in UTC: when its file was written."""
    newest = max((run.path / "result.json").stat().st_mtime for run in runs)
    return datetime.fromtimestamp(newest, UTC).date().isoformat()


def _check_source(searches: Sequence[Run]) -> None:
    first: dict[str, Run] = {}
    for run in searches:
        if source := accuracies_from(run):
            before = first.setdefault(cast(SearchSummary, run.summary).space, run)
            if (other := accuracies_from(before)) != source:
                raise UserError(
                    f"{before.path} has its accuracies from {other}, {run.path} from {source}: a "
                    "table needs one source; run the searches of the other again in a new folder"
                )


def _of_search(run: Run) -> Iterator[Figure]:
    """What the best architecture scores on every known data set, what it and the search cost."""
    found = cast(SearchSummary, run.summary)
    values: dict[tuple[str, str, str], float] = {}
    for known in found.benchmark.standings if found.benchmark else ():
        where = known.dataset, known.target
        values |= {(*where, "accuracy"): known.accuracy, (*where, "rank"): known.rank}
        if known.best_accuracy is not None:
            values[*where, "regret"] = known.best_accuracy - known.accuracy
    values |= {("", "", name): getattr(found, name) for name in ("seconds", "params", "flops")}
    settings, date = but_for_seed(run), date_of([run])
    own = {"space": found.space, "teacher": found.teacher or "none", "strategy": found.strategy}
    for (dataset, target, statistic), value in values.items():
        what = {"proxy": found.proxy, "dataset": dataset, "target": target, "statistic": statistic}
        yield Figure(
            {**own, **what}, float(value), (found.seed,), (run.path,), date, settings=settings
        )


def _of_training(run: Run, searches: Mapping[Path, Run], spec: Spec) -> Iterator[Figure]:
    """Accuracy, size and speed of what was trained."""
    trained = cast(TrainSummary, run.summary)
    search = _search_of(run, searches)
    if search and (problem := violation(search, spec)):
        raise UserError(f"its search, {search.path}: {problem}")
    fields = {
        "student": trained.student,
        "found_by": cast(SearchSummary, search.summary).proxy if search else "",
        "teacher": trained.teacher or "none",
        "distiller": "+".join(trained.distiller) or "alone",
        "data": trained.data,
    }
    settings, date = but_for_seed(run, search), date_of([run])
    for name in STATISTICS["trainings"]:
        value, own = float(getattr(trained, name)), {**fields, "statistic": name}
        yield Figure(own, value, (trained.seed,), (run.path,), date, settings=settings)


def _search_of(run: Run, searches: Mapping[Path, Run]) -> Run | None:
    """The search a student comes from."""
    student = run.config.get("student")
    if not isinstance(student, Mapping) or not student.get("run"):
        return None
    path = Path(str(student["run"])).expanduser()
    search = searches.get(path.resolve())
    if not search and (path / "result.json").is_file():  # a search in another folder
        search = next((each for each in find_runs([path]) if each.path == path), None)
    if not search or not isinstance(search.summary, SearchSummary):
        raise UserError(f"its search, {path}, is not there or not finished")
    return search
