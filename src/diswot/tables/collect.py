"""``results.csv`` of a table, made anew from the figures of its runs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple, cast

from diswot.config import MAY_GROW, flatten, identity
from diswot.errors import UserError
from diswot.runs import (
    RankSummary,
    Run,
    SearchSummary,
    TrainSummary,
    find_runs,
    read_rank_rows,
    write_table,
)
from diswot.tables.spec import FIELDS, STATISTICS, Spec, as_text
from diswot.tables.table import RESULTS

_COMMANDS = {"correlations": ("rank",), "searches": ("search",), "trainings": ("train", "search")}
"""Commands whose runs a kind of table reads."""

_NOISE = 1e-12  # relative; a spread below stems from rounding
_OF_SEED = ("seed", "data.shuffle_seed")
_OF_STUDENT = ("student.run", "student.arch")


class Collection(NamedTuple):
    """Number of runs that entered, of figures that were written, and why other folders did not."""

    used: int
    cells: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """One figure of one run, as a cell of the table has it.

    ``fields`` tell it apart (see `diswot.tables.spec.FIELDS`); ``value``, None where it is not
    defined, is the mean over ``seeds``, ``std`` the standard deviation, ``low`` to ``high`` the
    95 % interval over architectures; ``settings`` all runs of its cell must share, see
    `_but_for_seed`.
    """

    run: Run
    fields: Mapping[str, str]
    seeds: tuple[int, ...]
    settings: Mapping[str, str]
    value: float | None
    std: float | None = None
    low: float | None = None
    high: float | None = None


def collect(folder: Path) -> Collection:
    """Write the ``results.csv`` of a table's folder from the runs that its ``table.yaml`` names.

    Nothing that the folder or the runs name is built or imported; they are read as data. A
    UserError says that no run there is of use, that two runs of one seed, or of other settings,
    share a cell, or that the accuracies of one space were read from several sources.
    """
    spec = Spec.load(folder)
    where = _folder_of_runs(spec, folder)
    skipped, kept = list[str](), list[Run]()
    for run in find_runs([where]):
        if run.state != "finished":
            skipped.append(f"{run.path}: {run.problem or run.state}")
        elif run.command in _COMMANDS[spec.kind]:
            if problem := _violation(run, spec):
                skipped.append(f"{run.path}: {problem}")
            else:
                kept.append(run)
    if spec.kind == "searches":
        _check_sources(kept)
    cells: dict[tuple[str, str], list[_Figure]] = {}
    for run in kept:
        try:
            figures = list(_figures_of(run, kept, spec))
        except UserError as problem:
            skipped.append(f"{run.path}: {problem}")
            continue
        for figure in figures:
            if spec.takes(figure.fields):
                key = spec.label(spec.row, figure.fields), spec.label(spec.column, figure.fields)
                cells.setdefault(key, []).append(figure)
    if not cells:
        raise UserError("\n".join([f"{where} holds no finished run for {folder}", *skipped]))
    used = {figure.run.path: figure.run for figures in cells.values() for figure in figures}
    scale = spec.scale
    if sources := {Path(source).name for run in used.values() if (source := _source(run))}:
        scale += f"; accuracies: {', '.join(sorted(sources))}"  # of a file the name
    # Rows and columns in the order of `Spec.names`, those without one as they were found.
    labels = [*dict.fromkeys([*spec.names.values(), *(label for key in cells for label in key)])]
    ordered = sorted(cells, key=lambda key: (labels.index(key[0]), labels.index(key[1])))
    write_table(folder / "results.csv", RESULTS, [_line(k, cells[k], scale) for k in ordered])
    return Collection(len(used), len(cells), tuple(skipped))


def _folder_of_runs(spec: Spec, folder: Path) -> Path:
    if spec.runs and Path(spec.runs).is_dir():
        return Path(spec.runs)
    commands = " and ".join(f"python -m diswot.{words}" for words in spec.small)
    remedy = f"{commands} makes it" if commands else "no small runs are named"
    where = f"{folder / 'table.yaml'}: runs: {spec.runs!r}"
    raise UserError(f"{where} is no folder below {Path.cwd()}; {remedy}")


def _line(key: tuple[str, str], figures: Sequence[_Figure], scale: str) -> list[object]:
    """The one figure of a cell, as `RESULTS` has it.

    Equal figures, as every ranking has of the number of parameters, count once; figures of one seed
    each, all of another, give mean and standard deviation: no mean can have an interval over
    architectures. Equal ones may stem from several settings, of which one must be that of all.
    """
    groups: dict[object, list[_Figure]] = {}
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
    runs = {figure.run.path for figure in figures}
    newest = max((path / "result.json").stat().st_mtime for path in runs)
    date = datetime.fromtimestamp(newest, UTC).date().isoformat()
    return [*key, *digits, count, scale, date, len(runs)]


def _differences(one: _Figure, other: _Figure) -> list[str]:
    mine, theirs = one.settings, other.settings
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


def _conflict(key: tuple[str, str], *figures: _Figure) -> UserError:
    """Why two figures are not one, which the labels do not tell apart."""
    one, other = sorted(figures, key=lambda figure: figure.run.path)
    where = "where"
    if one.run.path == other.run.path:
        name = next(name for name, value in one.fields.items() if other.fields[name] != value)
        problem = f"two figures of {one.run.path} belong there, which differ in {name}"
    elif names := _differences(one, other):
        mine, theirs = (figure.settings.get(names[0], "not set") for figure in (one, other))
        problem = f"{one.run.path} and {other.run.path} are no seeds of one figure: "
        problem += f"{names[0]} is {mine} in one, {theirs} in the other"
        where = "conditions"
    else:
        problem = f"{one.run.path} and {other.run.path} both belong there"
    remedy = f"tell them apart by row, column or {where} in table.yaml"
    return UserError(f"row {key[0]}, column {key[1]}: {problem}; {remedy}")


def _violation(run: Run, spec: Spec) -> str | None:
    """The first setting of a run that is not what the conditions ask; null is one it lacks."""
    known = dict(flatten(run.config)) | dict(flatten(run.result, "result."))
    for name, allowed in spec.conditions_of(run.command).items():
        if as_text(known.get(name)) not in allowed:
            value = as_text(known[name]) if name in known else "not set"
            return f"{name} is {value}; the table takes {' or '.join(allowed)} (conditions)"
    return None


def _check_sources(searches: Sequence[Run]) -> None:
    """Refuse searches whose accuracies of one space are not from one source."""
    first: dict[str, Run] = {}
    for run in searches:
        if source := _source(run):
            before = first.setdefault(cast(SearchSummary, run.summary).space, run)
            if (other := _source(before)) != source:
                raise UserError(
                    f"{before.path} has its accuracies from {other}, {run.path} from {source}: a "
                    "table needs one source; run the searches of the other again in a new folder"
                )


def _source(run: Run) -> str | None:
    """The source of the accuracies of a ranking or a search; None where it has none."""
    summary: Any = run.summary
    if run.command == "search":
        summary = summary.benchmark
    return getattr(summary, "source", None)


def _but_for_seed(run: Run, search: Run | None = None) -> dict[str, str]:
    """The settings that runs of several seeds must share to give one figure, as `as_text` has them.

    They are `diswot.config.identity`, what may grow and the source of accuracies; of a training
    whose student a search found, those of the search in place of what it found.
    """
    left_out = _OF_SEED if search is None else (*_OF_SEED, *_OF_STUDENT)
    settings = identity(run.config)
    settings |= {name: value for name, value in flatten(run.config) if name in MAY_GROW}
    settings["accuracies"] = _source(run)
    own = {name: as_text(value) for name, value in settings.items() if name not in left_out}
    if search is None:
        return own
    return own | {f"search {name}": value for name, value in _but_for_seed(search).items()}


def _figures_of(run: Run, runs: Sequence[Run], spec: Spec) -> Iterator[_Figure]:
    """The figures of a run; those of a search only where the table is of searches."""
    if run.command == "rank":
        yield from _of_ranking(run)
    elif run.command == "train":
        searches = {each.path.resolve(): each for each in runs if each.command == "search"}
        yield from _of_training(run, searches, spec)
    elif spec.kind == "searches":
        yield from _of_search(run)


def _of_ranking(run: Run) -> Iterator[_Figure]:
    """Spearman's ρ and Kendall's τ of every proxy, target by target."""

    def defined(value: float) -> float | None:
        return value if math.isfinite(value) else None

    seeds = tuple(cast(RankSummary, run.summary).seeds)
    settings = _but_for_seed(run)
    # The order of a ranking is that of one target; a table has sizes last.
    for row in sorted(read_rank_rows(run.path), key=lambda row: row.proxy in ("params", "flops")):
        fields = {name: str(getattr(row, name)) for name in FIELDS["correlations"][:-1]}
        for name in STATISTICS["correlations"]:
            yield _Figure(
                run=run,
                fields={**fields, "statistic": name},
                seeds=seeds,
                settings=settings,
                value=defined(getattr(row, name)),
                std=defined(getattr(row, f"{name}_std")),
                low=defined(getattr(row, f"{name}_lo")),
                high=defined(getattr(row, f"{name}_hi")),
            )


def _of_search(run: Run) -> Iterator[_Figure]:
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
    seeds, settings = (summary.seed,), _but_for_seed(run)
    for (dataset, target, statistic), value in values.items():
        fields = {**own, "dataset": dataset, "target": target, "statistic": statistic}
        yield _Figure(run=run, fields=fields, seeds=seeds, settings=settings, value=float(value))


def _of_training(run: Run, searches: Mapping[Path, Run], spec: Spec) -> Iterator[_Figure]:
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
    seeds, settings = (trained.seed,), _but_for_seed(run, search)
    for name in STATISTICS["trainings"]:
        own = {**fields, "statistic": name}
        value = float(getattr(trained, name))
        yield _Figure(run=run, fields=own, seeds=seeds, settings=settings, value=value)
