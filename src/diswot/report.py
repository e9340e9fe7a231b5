"""Report on runs, sweeps and the paper's tables in one page: ``diswot report``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diswot.commands import exit_code
from diswot.errors import UserError

if TYPE_CHECKING:
    from diswot.tables import Table


_NAME = "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    parser = argparse.ArgumentParser(
        "diswot report",
        description="Write one HTML page on runs and sweeps, or on a paper's table.",
        epilog="example: diswot report runs/search runs/train --output report.html",
    )
    paths = "run directory, a folder above, a table"
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help=paths)
    parser.add_argument("--output", type=Path, help=f"file (default: {_NAME} in the first PATH)")
    collect = "first make a table's results.csv from its runs"
    parser.add_argument("--collect", action="store_true", help=collect)
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    return exit_code(
        "report",
        lambda: write_report(given.paths, given.output, collect=given.collect),
        stopped="Stopped; no report was written.",
    )


def write_report(
    paths: Sequence[Path], output: Path | None = None, *, collect: bool = False
) -> Path:
    """Write the page and say on the terminal what it holds.

    The paths are run directories, folders above them, or folders of tables (whose ``table.md`` is
    written too, and with ``collect`` ``results.csv`` before, from their runs). Gives the file, by
    default ``report.html`` in the first path; UserError where there is nothing to report.
    """
    from diswot.console import print_lines, shown
    from diswot.reporting.page import render
    from diswot.runs import find_runs, write_atomic

    folders = [path for path in paths if (path / "table.yaml").is_file()]
    others = [path for path in paths if path not in folders]
    runs = find_runs(others)
    target = paths[0] / _NAME if output is None else output.expanduser()
    if not target.parent.is_dir() or (target.exists() and not target.is_file()):
        problem = "is no file" if target.exists() else "lies in a folder that does not exist"
        raise UserError(f"--output: {target} {problem}; give the name of a file")
    if collect and not folders:
        raise UserError("--collect makes a table's results.csv; give the folder of a table")
    tables = [_table(folder, collect) for folder in folders]
    if others and all(run.state == "foreign" for run in runs):
        raise UserError(
            f"PATH: no run in {', '.join(map(str, others))}; a run is a folder that diswot search, "
            "race, train or rank wrote, with config.json and result.json or a journal in it, and a "
            "table one with table.yaml"
        )
    first = paths[0].resolve().name or str(paths[0])
    title = f"{first} and {len(paths) - 1} more" if len(paths) > 1 else first
    write_atomic(target, render(title, runs, tables))
    if runs:
        counted = Counter(run.state for run in runs)
        print_lines([", ".join(f"{count} {state}" for state, count in counted.most_common())])
    problems = [f"  {shown(run.path)}: {run.state}, {run.problem}" for run in runs if run.problem]
    print_lines([*problems, f"  {shown(target)}"])
    return target


def _table(path: Path, collect: bool) -> Table:
    """Write ``table.md`` and show the table."""
    from diswot.console import print_lines, print_table, shown
    from diswot.reporting.page import terminal_table
    from diswot.runs import write_atomic
    from diswot.tables import collect as collect_results
    from diswot.tables import load_table, to_markdown

    if collect:
        made = collect_results(path)
        print_lines([f"{made.cells} figures from {made.used} runs", *made.skipped])
    table = load_table(path)
    write_atomic(path / "table.md", to_markdown(table).encode())
    print_table(terminal_table(table))
    print_lines([f"Scale: {table.scale}", f"  {shown(path / 'table.md')}"])
    return table


if __name__ == "__main__":
    sys.exit(main())
