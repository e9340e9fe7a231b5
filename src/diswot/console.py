"""Progress and tables on the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from diswot.runs import CandidateRecord, KnownAccuracies, SearchSummary, TopCandidate


T = TypeVar("T")

_EVERY = 10.0  # seconds between two lines where there is no terminal
_FIRST = 3.0  # seconds to the first of them


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence where rich would end the process: the run matters more."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _console(file: IO[str] | None = None) -> Console:
    console = _Console(file=file or sys.stdout, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 160  # a log file has no width of its own
    return console


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Names and values, a line each."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        _console().print(Text.assemble((f"{name:{width}}", "bold"), "  ", value))


def print_lines(lines: Iterable[str]) -> None:
    """Lines as they are; nothing for none."""
    if text := "\n".join(lines):
        _console().print(Text(text))


def print_table(table: Table) -> None:
    """A table, folded where it is wider than the terminal."""
    _console().print(table, soft_wrap=False)


def figures(
    first: Sequence[str], columns: Sequence[str], title: str, wrapped: Collection[str] = ()
) -> Table:
    """A table of architectures and figures; where it is too wide, architectures are folded.

    So are the figures of the ``wrapped`` columns.
    """
    table = Table(title=title, title_justify="left")
    for name in first:
        table.add_column(name, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=name not in wrapped, overflow="fold")
    return table


def show_top(result: SearchSummary, count: int = 5) -> None:
    """The best candidates as a table, with the components of their scores if there is room."""
    names = list(result.top[0].parts) if len(result.top[0].parts) > 1 else []
    table, console = _top(result, result.top[:count], names), _console()
    if console.measure(table, options=console.options.update(width=1000)).maximum > console.width:
        table = _top(result, result.top[:count], [])
    print_table(table)


def _top(result: SearchSummary, rows: Sequence[TopCandidate], parts: Sequence[str]) -> Table:
    others = [name for name in rows[0].others if name not in ("params", "flops")]
    title = f"Best {len(rows)} of {result.distinct:,} architectures"
    # An ensemble's parts are called MEMBER.PART.
    heads = [each.rpartition(".")[2] if "." in each else f"{result.proxy}.{each}" for each in parts]
    scored = [] if result.proxy == "params" else [result.proxy]  # which a size says
    names, timed = [*scored, *heads, *others], result.latency is not None
    sizes = ["params", "MACs", *["ms"] * timed]
    table = figures(["#", "arch"], [*names, *sizes], title)
    for rank, row in enumerate(rows, start=1):
        values = [*[row.score] * len(scored), *map(row.parts.get, parts)]
        values += map(row.others.get, others)
        numbers = map(number, [*values, row.params, row.flops, *[row.latency_ms] * timed])
        table.add_row(str(rank), row.arch, *numbers)
    if result.teacher_params and result.teacher_flops:
        table.add_section()
        cost = [number(result.teacher_params), number(result.teacher_flops)]
        cost += [] if result.latency is None else [number(result.latency.teacher_ms)]
        own = result.teacher_accuracy
        top1 = "" if own is None else f", top-1 {own.top1:.2f} %"
        table.add_row("", f"teacher {result.teacher}{top1}", *[""] * len(names), *cost)
    return table


def part_of_front(result: SearchSummary, count: int = 8) -> list[TopCandidate]:
    """The Pareto front, of a long one ``count`` candidates from end to end."""
    step = max(1.0, (len(result.front) - 1) / (count - 1))
    return [result.front[round(step * place)] for place in range(min(count, len(result.front)))]


def show_front(result: SearchSummary) -> None:
    """The Pareto front as a table, see `part_of_front`."""
    front, timed = result.front, result.latency is not None
    if len(front) < 2:  # one that is best in every way, or a result of an older version
        return
    rows = part_of_front(result)
    part = f", {len(rows)} of them" if len(rows) < len(front) else ""
    title = f"Pareto front: {len(front)} of {result.distinct:,} architectures{part}"
    layers = "layers" in result.objectives
    scored = [] if result.proxy == "params" else [result.proxy]  # which a size says
    columns = [*scored, *["layers"] * layers, "params", "MACs", *["ms"] * timed]
    table = figures(["arch"], columns, f"{title} ({', '.join(result.objectives)})")
    for row in rows:
        values = [*[row.score] * len(scored), *[row.layers] * layers, row.params, row.flops]
        table.add_row(row.arch, *map(number, [*values, *[row.latency_ms] * timed]))
    print_table(table)


def show_standings(known: KnownAccuracies, seconds: float, data: str) -> None:
    """The accuracy that training gave the architecture found, beside the best there is.

    Where it is of other images than ``data``, the title says so.
    """
    known_of = [row.dataset for row in known.standings]
    title = f"Trained accuracy of the architecture found in {seconds:.1f} s"
    title += "" if data.replace("_", "-") in known_of else f", not on {data}"
    title += f" ({known.source})"
    table = Table("data set", "target", title=title, title_justify="left")
    for column in ("top-1", "rank", "best under the budget", "regret"):
        table.add_column(column, justify="right")
    for row in known.standings:
        best, regret = "—", "—"
        if row.best_accuracy is not None:
            best, regret = f"{row.best_accuracy:.2f} %", f"{row.best_accuracy - row.accuracy:.2f}"
        place = f"{row.rank:,} of {row.count:,}"
        table.add_row(row.dataset, row.target, f"{row.accuracy:.2f} %", place, best, regret)
    _console().print(table)


def number(value: float | None) -> str:
    """Five digits, or a whole number with commas; a dash for none."""
    if value is None:
        return "—"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.5g}"


def counting(chunks: Iterable[T], what: str, total: int, size: Callable[[T], int]) -> Iterator[T]:
    """The same chunks, each of ``size`` images of ``total``, with a line on progress now and then.

    ``what`` begins the line.
    """
    started = last = time.monotonic()
    done = 0
    for chunk in chunks:
        yield chunk
        done, now = done + size(chunk), time.monotonic()
        if now - last >= _EVERY:
            last, rate = now, done / (now - started)
            left = f"{rate:,.0f}/s, {(total - done) / rate:.0f} s left"
            print_lines([f"{what}: {done:,} of {total:,} images, {left}"])


class ScoringProgress:
    """Shows rate, best so far and time left: a bar on a terminal, else a line now and then.

    A context manager; `advance` is called with every candidate, of ``total`` if that is known,
    ``done`` before this start. The file ``reasons`` will say why some could not be scored.
    """

    def __init__(self, total: int | None, done: int, reasons: str, *, quiet: bool = False) -> None:
        self._console = _console(sys.stderr)
        self._console.quiet = quiet
        self._total, self._before, self._reasons = total, done, reasons
        self._failed = 0
        self._started = time.monotonic()
        self._shown = self._started - _EVERY + _FIRST
        self._bar = RichProgress(
            TextColumn("[bold]scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}  {task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=0, rate="", note="")

    def __enter__(self) -> Self:
        """Start the bar."""
        if self._before:
            self._console.print(f"Going on: {self._before:,} candidates are journaled already.")
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the bar and say what failed."""
        self._bar.stop()
        if self._failed:
            self._console.print(
                f"{self._failed:,} candidates could not be scored in full; {self._reasons} has "
                "the reasons."
            )

    def advance(self, done: int, note: str, *, failed: bool = False) -> None:
        """Show that ``done`` candidates are scored; ``note`` stands beside the rate."""
        self._failed += failed
        now = time.monotonic()
        fresh = done - self._before
        if fresh <= 1:  # processes have started by now
            self._started = now
        rate = max(fresh - 1, 0) / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{rate:.1f}/s", note=note)
        if not self._console.is_terminal and fresh > 0 and now - self._shown >= _EVERY:
            self._shown = now
            total = "" if self._total is None else f" of {self._total:,}"
            speed = f"{rate:.1f}/s, " if rate else ""
            left = f", {(self._total - done) / rate:.0f} s left" if rate and self._total else ""
            self._console.print(f"{done:,}{total} candidates, {speed}{note}{left}")


class SearchProgress(ScoringProgress):
    """The progress of a search, see `diswot.searching.engine.OnCandidate`."""

    def __call__(self, record: CandidateRecord, evaluated: int, best: str | float | None) -> None:
        """See `advance`."""
        shown = f"{best:.5g}" if isinstance(best, float) else best or "—"
        self.advance(evaluated, f"best {shown}", failed=record.status == "failed")


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(path: Path) -> str:
    """A path, relative to the current folder where it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
