"""``results.csv`` of a table, made anew from the figures of its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple, cast

import msgspec

from diswot.config import MAY_GROW, flatten, identity
from diswot.errors import UserError
from diswot.runs import Run, SearchSummary, TrainSummary, find_runs, write_table
from diswot.tables.spec import STATISTICS, Spec, as_text
from diswot.tables.table import RESULTS

__all__ = ["Collection", "Figure", "Skip", "but_for_seed", "collect", "date_of", "skipping"]

_COMMANDS = {
    "correlations": ("search", "rank"),
    "searches": ("search",),
    "trainings": ("train", "search"),
}
"""Commands whose runs a kind of table reads."""

_NOISE = 1e-12  # relative; a spread below stems from rounding
_OF_SEED = ("seed", "data.shuffle_seed")
_OF_STUDENT = ("student.run", "student.arch")

Skip = Callable[[Run, str], None]
"""Called with every run that does not enter the table, and why."""


class Collection(NamedTuple):
    """Number of runs that entered, of figures that were written, and why other folders did not."""

    used: int
    cells: int
    skipped: tuple[str, ...]


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


def collect(folder: Path, runs: Path | None = None, scale: str | None = None) -> Collection:
    """Write the ``results.csv`` of a table's folder.

    Nothing that the folder or the runs name is built or imported; they are read as data. ``runs``,
    where its runs are, and ``scale`` are by default what ``table.yaml`` says; with another scale,
    its conditions are not asked.

    Raises:
        UserError: No run there is of use, two runs of one seed, or of other settings, share a
            cell, or the accuracies of one space were read from several sources.
        OSError: The file cannot be written.
    """
    spec = Spec.load(folder)
    where = _existing(runs, spec, folder)
    if scale not in (None, spec.scale):
        spec = msgspec.structs.replace(spec, conditions={})
    skipped: list[str] = []

    def skip(run: Run, problem: str) -> None:
        skipped.append(f"{run.path}: {problem}")

    kept = []
    for run in find_runs([where]):
        if run.state != "finished":
            skip(run, run.problem or run.state)
        elif run.command in _COMMANDS[spec.kind]:
            if problem := _violation(run, spec):
                skip(run, problem)
            else:
                kept.append(run)
    cells: dict[tuple[str, str], list[Figure]] = {}
    for figure in _figures_of(kept, spec, skip):
        if spec.takes(figure.fields):
            key = spec.label(spec.row, figure.fields), spec.label(spec.column, figure.fields)
            cells.setdefault(key, []).append(figure)
    if not cells:
        raise UserError("\n".join([f"{where} holds no finished run for {folder}", *skipped]))
    used = {path for figures in cells.values() for figure in figures for path in figure.paths}
    sources = {Path(s).name for run in kept if run.path in used and (s := _accuracies_from(run))}
    scale = scale or spec.scale
    if sources:  # of a file the name, wherever it lies here
        scale += f"; accuracies: {', '.join(sorted(sources))}"
    # Rows and columns in the order of `Spec.names`, those without one as they were found.
    labels = [*dict.fromkeys([*spec.names.values(), *(label for key in cells for label in key)])]
    ordered = sorted(cells, key=lambda key: (labels.index(key[0]), labels.index(key[1])))
    write_table(folder / "results.csv", RESULTS, [_line(k, cells[k], scale) for k in ordered])
    return Collection(len(used), len(cells), tuple(skipped))


def _existing(runs: Path | None, spec: Spec, folder: Path) -> Path:
    file = folder / "table.yaml"
    if runs is None and not spec.runs:
        raise UserError(f"{file}: runs: is missing; no small runs are named")
    where = runs or Path(spec.runs)
    if not where.is_dir():
        commands = " and ".join(f"python -m diswot.{words}" for words in spec.small)
        remedy = f"{commands} makes it" if commands else "no small runs are named"
        raise UserError(f"{file}: runs: {str(where)!r} is no folder below {Path.cwd()}; {remedy}")
    return where


def _line(key: tuple[str, str], figures: Sequence[Figure], scale: str) -> list[object]:
    """The one figure of a cell, as `RESULTS` has it.

    Equal figures, as every ranking has of the number of parameters, count once; figures of one seed
    each, all of another, give mean and standard deviation: no mean can have an interval over
    architectures. Equal ones may stem from several settings, of which one must be that of all.
    """
    groups: dict[object, list[Figure]] = {}
    for figure in figures:
        numbers = (figure.value, figure.std, figure.low, figure.high, figure.seeds)
        groups.setdefault(numbers, []).append(figure)
    distinct = [group[0] for group in groups.values()]
    one, count = distinct[0], len(distinct[0].seeds)
    if len(distinct) > 1:
        for pair in combinations(distinct, 2):
            if len({each.seeds for each in pair}) < 2 or any(len(each.seeds) > 1 for each in pair):
                raise _conflict(key, *pair)
        first, *others = groups.values()
        if not any(all(f.settings in [o.settings for o in g] for g in others) for f in first):
            pairs = [(f, other) for f in first for group in others for other in group]
            pairs = [pair for pair in pairs if _differences(*pair)]
            raise _conflict(key, *min(pairs, key=lambda pair: len(_differences(*pair))))
        values = [figure.value for figure in distinct if figure.value is not None]
        whole, count = len(values) == len(distinct), len(distinct)
        united = (mean(values), stdev(values)) if whole else (None, None)
        one = replace(one, value=united[0], std=united[1])
    if one.std is not None and one.value is not None and one.std <= _NOISE * abs(one.value):
        one = replace(one, std=0.0)
    digits = [None if n is None else f"{n:.8g}" for n in (one.value, one.std, one.low, one.high)]
    runs = {path for figure in figures for path in figure.paths}
    return [*key, *digits, count, scale, max(figure.date for figure in figures), len(runs)]


def _differences(one: Figure, other: Figure) -> list[str]:
    mine, theirs = one.settings, other.settings
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


def _conflict(key: tuple[str, str], *figures: Figure) -> UserError:
    """Why two figures are not one, which the labels do not tell apart."""
    one, other = sorted(figures, key=lambda figure: figure.paths[0])
    where = "where"
    if one.paths == other.paths:
        name = next(name for name, value in one.fields.items() if other.fields[name] != value)
        problem = f"two figures of {one.paths[0]} belong there, which differ in {name}"
    elif names := _differences(one, other):
        mine, theirs = (figure.settings.get(names[0], "not set") for figure in (one, other))
        problem = f"{one.paths[0]} and {other.paths[0]} are no seeds of one figure: "
        problem += f"{names[0]} is {mine} in one, {theirs} in the other"
        where = "conditions"
    else:
        problem = f"{one.paths[0]} and {other.paths[0]} both belong there"
    remedy = f"tell them apart by row, column or {where} in table.yaml"
    return UserError(f"row {key[0]}, column {key[1]}: {problem}; {remedy}")


def _figures_of(runs: Sequence[Run], spec: Spec, skip: Skip) -> list[Figure]:
    if spec.kind == "correlations":
        from diswot.tables.correlations import of_correlations

        return of_correlations(runs, spec, skip)
    searches = [run for run in runs if run.command == "search"]
    if spec.kind == "searches":
        first: dict[str, Run] = {}
        for run in searches:
            if source := _accuracies_from(run):
                before = first.setdefault(cast(SearchSummary, run.summary).space, run)
                if (other := _accuracies_from(before)) != source:
                    raise UserError(
                        f"{before.path} has its accuracies from {other}, {run.path} from {source}: "
                        "a table needs one source; run the searches of the other again in a new "
                        "folder"
                    )
        return [figure for run in searches for figure in skipping(skip, _of_search(run), run)]
    by_path = {run.path.resolve(): run for run in searches}
    trained = [run for run in runs if run.command == "train"]
    return [f for run in trained for f in skipping(skip, _of_training(run, by_path, spec), run)]


def skipping(skip: Skip, figures: Iterator[Figure], *runs: Run) -> list[Figure]:
    """The figures of runs, none where these cannot be used."""
    try:
        return list(figures)
    except UserError as problem:
        for run in runs:
            skip(run, str(problem))
        return []


def _violation(run: Run, spec: Spec) -> str | None:
    """The first setting of a run that is not what the conditions ask; null is one it lacks."""
    known = dict(flatten(run.config)) | dict(flatten(run.result, "result."))
    for name, allowed in spec.conditions_of(run.command).items():
        if as_text(known.get(name)) not in allowed:
            value = as_text(known[name]) if name in known else "not set"
            return f"{name} is {value}; the table takes {' or '.join(allowed)} (conditions)"
    return None


def _accuracies_from(run: Run) -> str | None:
    """The source of the accuracies of a ranking or a search; None where it has none."""
    summary: Any = run.summary
    if run.command == "search":
        summary = summary.benchmark
    return getattr(summary, "source", None)


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
    settings["accuracies"] = _accuracies_from(run)
    own = {name: as_text(value) for name, value in settings.items() if name not in left_out}
    if search is None:
        return own
    return own | {f"search {name}": value for name, value in but_for_seed(search).items()}


def date_of(*runs: Run) -> str:
    """Of the newest result, in UTC: when its file was written."""
    newest = max((run.path / "result.json").stat().st_mtime for run in runs)
    return datetime.fromtimestamp(newest, UTC).date().isoformat()


def _of_search(run: Run) -> Iterator[Figure]:
    """What the best architecture scores on every known data set, what it and the search cost."""
    summary = cast(SearchSummary, run.summary)
    values: dict[tuple[str, str, str], float] = {}
    for known in summary.benchmark.standings if summary.benchmark else ():
        where = known.dataset, known.target
        values |= {(*where, "accuracy"): known.accuracy, (*where, "rank"): known.rank}
        if known.best_accuracy is not None:
            values[*where, "regret"] = known.best_accuracy - known.accuracy
    values |= {("", "", name): getattr(summary, name) for name in ("seconds", "params", "flops")}
    own = {"space": summary.space, "teacher": summary.teacher or "none"}
    own |= {"strategy": summary.strategy, "proxy": summary.proxy}
    shared = (summary.seed,), (run.path,), date_of(run)
    settings = but_for_seed(run)
    for (dataset, target, statistic), value in values.items():
        fields = {**own, "dataset": dataset, "target": target, "statistic": statistic}
        yield Figure(fields, float(value), *shared, settings=settings)


def _of_training(run: Run, searches: Mapping[Path, Run], spec: Spec) -> Iterator[Figure]:
    """Accuracy, size and speed of what was trained; of a student of a search, what found it."""
    trained, search, proxy = cast(TrainSummary, run.summary), None, ""
    student = run.config.get("student")
    if isinstance(student, Mapping) and student.get("run"):
        path = Path(str(student["run"])).expanduser()
        search = searches.get(path.resolve())
        if not search and (path / "result.json").is_file():  # a search in another folder
            search = next((each for each in find_runs([path]) if each.path == path), None)
        if not search or not isinstance(search.summary, SearchSummary):
            raise UserError(f"its search, {path}, is not there or not finished")
        if problem := _violation(search, spec):
            raise UserError(f"its search, {search.path}: {problem}")
        proxy = search.summary.proxy
    fields = {"student": trained.student, "found_by": proxy, "teacher": trained.teacher or "none"}
    fields |= {"distiller": "+".join(trained.distiller) or "alone", "data": trained.data}
    shared = (trained.seed,), (run.path,), date_of(run)
    settings = but_for_seed(run, search)
    for name in STATISTICS["trainings"]:
        own = {**fields, "statistic": name}
        yield Figure(own, float(getattr(trained, name)), *shared, settings=settings)
