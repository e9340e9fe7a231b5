"""Makes ``results.csv`` anew from the runs of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diswot.errors import UserError
from diswot.reporting.runs import Run, find_runs
from diswot.tables.files import Key, write_results
from diswot.tables.found import of_searches, of_trainings
from diswot.tables.records import Record, Skip, united
from diswot.tables.spec import Spec

__all__ = ["Collection", "collect"]


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
        scale: Of these runs, likewise.

    Raises:
        UserError: No run there is of use, or two runs of one seed share a cell.
        OSError: The file cannot be written.
    """
    spec = Spec.load(folder)
    where = runs or Path(spec.runs)
    found = find_runs([_existing(where, spec, folder)])
    skipped = [f"{run.path}: {run.problem or run.state}" for run in found if not _finished(run)]

    def skip(run: Run, problem: str) -> None:
        skipped.append(f"{run.path}: {problem}")

    finished = [run for run in found if _finished(run)]
    records = [record for record in _records(spec, finished, skip) if spec.takes(record.fields)]
    if not records:
        raise UserError("\n".join([f"{where} holds no finished run for {folder}", *skipped]))
    cells: dict[Key, list[Record]] = {}
    for record in records:
        row = spec.label(spec.row, record.fields)
        cells.setdefault((row, spec.label(spec.column, record.fields)), []).append(record)
    results = [united(key, cells[key]) for key in _ordered(cells, spec)]
    write_results(folder / "results.csv", results, scale or spec.scale)
    used = {path for record in records for path in record.paths}
    return Collection(len(used), len(results), tuple(skipped))


def _ordered(cells: Mapping[Key, object], spec: Spec) -> list[Key]:
    """Rows and columns in the order of `Spec.names`, those without one as they were found."""
    labels = [*spec.names.values(), *(label for key in cells for label in key)]
    places = {label: place for place, label in reversed(list(enumerate(labels)))}
    return sorted(cells, key=lambda key: (places[key[0]], places[key[1]]))


def _finished(run: Run) -> bool:
    return run.state == "finished"


def _existing(where: Path, spec: Spec, folder: Path) -> Path:
    if not where.is_dir() or where == Path():
        made = " and ".join(f"python -m diswot.{words}" for words in spec.small)
        raise UserError(
            f"{folder / 'table.yaml'}: runs: {str(where)!r} is no folder below {Path.cwd()}; "
            + (f"{made} makes it" if made else "no small runs are named")
        )
    return where


def _records(spec: Spec, runs: Sequence[Run], skip: Skip) -> list[Record]:
    if spec.kind == "correlations":
        from diswot.tables.correlations import of_correlations

        return of_correlations(runs, spec, skip)
    return of_searches(runs, skip) if spec.kind == "searches" else of_trainings(runs, skip)
