"""Makes ``results.csv`` anew from the runs of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from diswot.errors import UserError
from diswot.runs import Run, find_runs
from diswot.tables.conditions import Conditions, accuracies_from, violation
from diswot.tables.files import Key, write_results
from diswot.tables.found import of_searches, of_trainings
from diswot.tables.records import Record, Skip, united
from diswot.tables.spec import Spec

__all__ = ["Collection", "collect"]


_OF_KIND = {
    "correlations": ("search", "rank"),
    "searches": ("search",),
    "trainings": ("train", "search"),
}
"""Commands whose runs a kind of table reads."""


@dataclass(frozen=True)
class Collection:
    """What came of collecting.

    Attributes:
        used: Runs that entered the table.
        cells: Figures that were written.
        skipped: Folders that did not enter, and why, a line each.
    """

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
    found = find_runs([where])
    skipped = [f"{run.path}: {run.problem or run.state}" for run in found if not _finished(run)]

    def skip(run: Run, problem: str) -> None:
        skipped.append(f"{run.path}: {problem}")

    conditions: Conditions = spec.conditions if scale in (None, spec.scale) else {}
    finished = [run for run in found if _finished(run) and run.command in _OF_KIND[spec.kind]]
    kept = []
    for run in finished:
        if problem := violation(run, conditions):
            skip(run, problem)
        else:
            kept.append(run)
    records = _records(spec, kept, conditions, skip)
    records = [record for record in records if spec.takes(record.fields)]
    if not records:
        raise UserError("\n".join([f"{where} holds no finished run for {folder}", *skipped]))
    cells: dict[Key, list[Record]] = {}
    for record in records:
        row = spec.label(spec.row, record.fields)
        cells.setdefault((row, spec.label(spec.column, record.fields)), []).append(record)
    results = [united(key, cells[key]) for key in _ordered(cells, spec)]
    used = {path for record in records for path in record.paths}
    sources = {accuracies_from(run) for run in kept if run.path in used} - {None}
    write_results(folder / "results.csv", results, _told(scale or spec.scale, sources))
    return Collection(len(used), len(results), tuple(skipped))


def _told(scale: str, sources: Set[str | None]) -> str:
    """The scale, and where the accuracies are from: of a file the name, wherever it lies here."""
    names = sorted({Path(str(source)).name for source in sources})
    return f"{scale}; accuracies: {', '.join(names)}" if names else scale


def _ordered(cells: Mapping[Key, object], spec: Spec) -> list[Key]:
    """Rows and columns in the order of `Spec.names`, those without one as they were found."""
    labels = [*spec.names.values(), *(label for key in cells for label in key)]
    places = {label: place for place, label in reversed(list(enumerate(labels)))}
    return sorted(cells, key=lambda key: (places[key[0]], places[key[1]]))


def _finished(run: Run) -> bool:
    return run.state == "finished"


def _existing(runs: Path | None, spec: Spec, folder: Path) -> Path:
    if runs is None and not spec.runs:
        raise UserError(f"{folder / 'table.yaml'}: runs: is missing; no small runs are named")
    where = runs or Path(spec.runs)
    if not where.is_dir():
        made = " and ".join(f"python -m diswot.{words}" for words in spec.small)
        raise UserError(
            f"{folder / 'table.yaml'}: runs: {str(where)!r} is no folder below {Path.cwd()}; "
            + (f"{made} makes it" if made else "no small runs are named")
        )
    return where


def _records(spec: Spec, runs: Sequence[Run], conditions: Conditions, skip: Skip) -> list[Record]:
    if spec.kind == "correlations":
        from diswot.tables.correlations import of_correlations

        return of_correlations(runs, spec, skip)
    if spec.kind == "searches":
        return of_searches(runs, skip)
    return of_trainings(runs, conditions, skip)
