"""``results.csv`` of a table, made anew from its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import msgspec

from diswot.errors import UserError
from diswot.runs import Run, find_runs, write_table
from diswot.tables.figures import Figure, accuracies_from, figures_of, violation
from diswot.tables.spec import Spec
from diswot.tables.table import RESULTS

__all__ = ["Collection", "collect"]

_COMMANDS = {
    "correlations": ("search", "rank"),
    "searches": ("search",),
    "trainings": ("train", "search"),
}
"""Commands whose runs a kind of table reads."""

_NOISE = 1e-12  # relative; a spread below stems from rounding

Key = tuple[str, str]
"""Row and column."""


class Collection(NamedTuple):
    """Number of runs that entered, of figures that were written, and why other folders did not."""

    used: int
    cells: int
    skipped: tuple[str, ...]


def collect(folder: Path, runs: Path | None = None, scale: str | None = None) -> Collection:
    """Write the ``results.csv`` of a table's folder.

    Nothing that the folder or the runs name is built or imported; they are read as data.

    Args:
        folder: Of the table.
        runs: Where its runs are; by default what ``table.yaml`` says.
        scale: Of these runs, likewise; with another than that, its conditions are not asked.

    Raises:
        UserError: No run there is of use, or two runs of one seed, or of other settings, share a
            cell.
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
            if problem := violation(run, spec):
                skip(run, problem)
            else:
                kept.append(run)
    cells: dict[Key, list[Figure]] = {}
    for figure in figures_of(kept, spec, skip):
        if spec.takes(figure.fields):
            key = spec.label(spec.row, figure.fields), spec.label(spec.column, figure.fields)
            cells.setdefault(key, []).append(figure)
    if not cells:
        raise UserError("\n".join([f"{where} holds no finished run for {folder}", *skipped]))
    used = {path for figures in cells.values() for figure in figures for path in figure.paths}
    sources = {Path(s).name for run in kept if run.path in used and (s := accuracies_from(run))}
    scale = scale or spec.scale
    if sources:  # of a file the name, wherever it lies here
        scale += f"; accuracies: {', '.join(sorted(sources))}"
    # Rows and columns in the order of `Spec.names`, those without one as they were found.
    labels = [*dict.fromkeys([*spec.names.values(), *(label for key in cells for label in key)])]
    ordered = sorted(cells, key=lambda key: (labels.index(key[0]), labels.index(key[1])))
    lines = [_line(key, cells[key], scale) for key in ordered]
    write_table(folder / "results.csv", RESULTS, lines)
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


def _line(key: Key, figures: Sequence[Figure], scale: str) -> list[object]:
    """The one figure of a cell, as `RESULTS` has it.

    Equal figures, as every ranking has of the number of parameters, count once; figures of one seed
    each give mean and standard deviation.

    Raises:
        UserError: Two figures of one seed differ, or figures of several seeds in other settings:
            the labels do not tell them apart.
    """
    groups: dict[object, list[Figure]] = {}
    for figure in figures:
        numbers = (figure.value, figure.std, figure.low, figure.high, figure.seeds)
        groups.setdefault(numbers, []).append(figure)
    distinct = [group[0] for group in groups.values()]
    one, count = distinct[0], len(distinct[0].seeds)
    if len(distinct) > 1:
        _check_seeds(key, distinct)
        _check_settings(key, list(groups.values()))
        values = [figure.value for figure in distinct if figure.value is not None]
        whole, count = len(values) == len(distinct), len(distinct)
        united = (mean(values), stdev(values)) if whole else (None, None)
        one = replace(one, value=united[0], std=united[1])
    if one.std is not None and one.value is not None and one.std <= _NOISE * abs(one.value):
        one = replace(one, std=0.0)
    digits = [None if n is None else f"{n:.8g}" for n in (one.value, one.std, one.low, one.high)]
    runs = {path for figure in figures for path in figure.paths}
    return [*key, *digits, count, scale, max(figure.date for figure in figures), len(runs)]


def _check_seeds(key: Key, figures: Sequence[Figure]) -> None:
    """Figures of one seed each, all of another: no mean can have an interval over architectures."""
    for one, other in combinations(figures, 2):
        if len(one.seeds) == len(other.seeds) == 1 and one.seeds != other.seeds:
            continue
        if one.paths == other.paths:
            apart = [name for name, value in one.fields.items() if other.fields[name] != value]
            problem = f"two figures of {one.paths[0]} belong there, which differ in {apart[0]}"
        elif _differences(one, other):
            raise _unlike(key, one, other)
        else:
            first, second = sorted([one.paths[0], other.paths[0]])
            problem = f"{first} and {second} both belong there"
        raise _not_one(key, problem, "where")


def _check_settings(key: Key, groups: Sequence[Sequence[Figure]]) -> None:
    """Equal figures may stem from several settings, of which one must be that of all seeds."""
    first, *others = groups
    if not any(all(one.settings in [f.settings for f in g] for g in others) for one in first):
        pairs = [(one, other) for one in first for group in others for other in group]
        differing = [pair for pair in pairs if _differences(*pair)]
        raise _unlike(key, *min(differing, key=lambda pair: len(_differences(*pair))))


def _differences(one: Figure, other: Figure) -> list[str]:
    mine, theirs = one.settings, other.settings
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


def _unlike(key: Key, *figures: Figure) -> UserError:
    """Two figures that differ in a setting."""
    first, second = sorted(figures, key=lambda figure: figure.paths[0])
    name = _differences(first, second)[0]
    mine, theirs = (figure.settings.get(name, "not set") for figure in (first, second))
    problem = f"{first.paths[0]} and {second.paths[0]} are no seeds of one figure: {name} is {mine}"
    return _not_one(key, f"{problem} in one, {theirs} in the other", "conditions")


def _not_one(key: Key, problem: str, where: str) -> UserError:
    remedy = f"tell them apart by row, column or {where} in table.yaml"
    return UserError(f"row {key[0]}, column {key[1]}: {problem}; {remedy}")
