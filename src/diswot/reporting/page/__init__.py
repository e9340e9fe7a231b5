"""The HTML report: one file, made of run directories and tables, that needs no other file."""

import base64
import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from diswot._version import __version__
from diswot.config import flatten
from diswot.reporting.page.facts import (
    COLUMNS,
    Group,
    differences,
    group_runs,
    run_facts,
    seed_figures,
)
from diswot.reporting.page.pareto import pareto_pictures
from diswot.reporting.page.pictures import (
    Pictures,
    ranking_pictures,
    search_pictures,
    similarity_pictures,
    training_pictures,
)
from diswot.reporting.race import contestant_table, verdicts
from diswot.runs import RaceSummary, Run
from diswot.tables import Cell, Table
from diswot.tables.table import decimals, figure, measured

_DRAWN = 24  # groups of a section
_WITH_RECORDS = ("finished", "running", "unfinished", "stopped", "failed")


def render(title: str, runs: Sequence[Run], tables: Sequence[Table] = ()) -> bytes:
    """The page as UTF-8; the same runs and tables give the same bytes.

    Its content security policy allows no request and no script but its own.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.from_string(_resource("page.html.j2")).render(
        title=title,
        version=__version__,
        style=Markup(_resource("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        tables=[_table_section(table) for table in tables],
        **_run_sections(runs),
    )
    return text.encode("utf-8", "replace")  # file names may hold bytes that are no text


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _table_section(table: Table) -> dict[str, object]:
    notes: dict[str, int] = {}
    digits = {column: decimals(table, column) for column in table.columns}
    rows = [
        (row, [_texts(table.cells.get((row, column)), digits[column], notes) for column in digits])
        for row in table.rows
    ]
    seeds = sorted({cell.seeds for cell in table.cells.values() if cell.seeds})
    return {"table": table, "rows": rows, "notes": list(notes), "seeds": seeds}


def _texts(cell: Cell | None, places: int, notes: dict[str, int]) -> dict[str, Any]:
    """Texts of a cell, and the number of the footnote that names its source, 0 without one."""
    cell = cell or Cell()
    apart, source = None, cell.reference
    if cell.seeds and cell.value is not None and cell.paper is not None:
        apart = round(cell.value - cell.paper, places)
    return {
        "ours": measured(cell, places) if cell.seeds else "",
        "seeds": cell.seeds,
        "paper": f"{cell.paper_text} {cell.unit}".strip() if cell.paper is not None else "",
        "apart": "" if apart is None else ("+" if apart > 0 else "") + figure(apart, places),
        "side": "level" if not apart else "above" if apart > 0 else "below",
        "note": notes.setdefault(source, len(notes) + 1) if source else 0,
    }


def terminal_table(table: Table) -> Any:
    """A table for a terminal: ours, in brackets the published figure.

    Rows and columns in which nothing was measured are left to the files, unless nothing was at all.
    """
    from rich.table import Table as Grid
    from rich.text import Text

    known = [place for place, cell in table.cells.items() if cell.seeds] or [*table.cells]
    rows = [row for row in table.rows if row in {row for row, _ in known}]
    columns = [column for column in table.columns if column in {column for _, column in known}]
    grid = Grid(title=Text(table.title), title_justify="left")
    if len(rows) < len(table.rows) or len(columns) < len(table.columns):
        grid.caption = "Rows and columns with published figures alone are in table.md."
    grid.add_column("")
    for column in columns:
        grid.add_column(Text(column), justify="right")
    digits = {column: decimals(table, column) for column in columns}
    for row in rows:
        cells = [_texts(table.cells.get((row, column)), digits[column], {}) for column in columns]
        texts = [c["ours"] + (f"\n({c['paper']})" if c["paper"] else "") for c in cells]
        grid.add_row(Text(row), *(Text(text.strip() or "—") for text in texts))
    return grid


def _run_sections(runs: Sequence[Run]) -> dict[str, Any]:
    """All that the page says of runs, in any state; there may be none."""
    names = _names([run.path for run in runs])
    usable = [run for run in runs if run.state in _WITH_RECORDS]
    groups = group_runs(usable)
    searches = [group for group in groups if group.command == "search"]
    trainings = [group for group in groups if group.command == "train"]
    rankings = [run for run in usable if run.command == "rank" and run.state == "finished"]
    ranked = [
        ranking_pictures(r, names[r.path], f"rank{i}") for i, r in enumerate(rankings[:_DRAWN])
    ]
    similar = [similarity_pictures(g, f"similar{i}") for i, g in enumerate(searches[:_DRAWN])]
    searched = [search_pictures(g, f"search{i}") for i, g in enumerate(searches[:_DRAWN])]
    known = {names[run.path]: run.summary for run in runs}
    races = {name: each for name, each in known.items() if isinstance(each, RaceSummary)}
    races = dict([*races.items()][:_DRAWN])
    facts = [run_facts(run, names[run.path]) for run in runs if run.state != "foreign"]
    timed = any(each["latency_ms"].sort is not None for each in facts)
    left_out = max(len(searches), len(trainings), len(rankings)) > _DRAWN
    return {
        "counts": Counter(run.state for run in runs),
        "problems": [(names[run.path], run.state, run.problem) for run in runs if run.problem],
        "columns": {k: head for k, head in COLUMNS.items() if timed or k != "latency_ms"},
        "runs": facts,
        "groups": [
            (group, [(arch, len(own), seed_figures(own)) for arch, own in archs.items()])
            for group in groups
            if (archs := group.by_arch())
        ],
        "rankings": ranked,
        "races": [(name, *contestant_table(each)) for name, each in races.items()],
        "fronts": pareto_pictures([*zip(searches, searched, strict=False)], trainings, races),
        "searches": searched,
        "trainings": [training_pictures(g, f"train{i}") for i, g in enumerate(trainings[:_DRAWN])],
        "similarities": [each for each in similar if each.panels or each.notes],
        "drawn": _DRAWN if left_out else 0,
        "findings": [
            *_of_groups(groups[:_DRAWN]),
            *_of_rankings(ranked),
            *(f"{name}: {'; '.join(verdicts(each))}" for name, each in races.items()),
        ],
        **_settings([run for run in runs if run.config], names),
    }


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Paths below the folder they share, or the folder's name where there is one only."""
    if len(paths) < 2:
        return {path: path.resolve().name for path in paths}
    shared = Path(os.path.commonpath([path.absolute() for path in paths]))
    below = {path: path.absolute().relative_to(shared) for path in paths}
    return {path: str(name) if name.parts else shared.name for path, name in below.items()}


def _of_groups(groups: Sequence[Group]) -> list[str]:
    """One sentence a group: the architectures found, or the accuracy reached."""
    sentences = []
    for group in groups:
        found = sorted(group.by_arch().items(), key=lambda item: -len(item[1]))
        total = sum(len(own) for _, own in found)
        if group.command == "search" and found:
            archs = [f"{arch} ({len(own)} of {total})" for arch, own in found[:3]]
            more = f" and {len(found) - 3} others" if len(found) > 3 else ""
            text = ", ".join(archs) if total > 1 else found[0][0]
            sentences.append(f"{group.label}: found {text}{more}")
        elif found:
            accuracies = [
                f"{arch} {seed_figures(own)['top1'].text} ({len(own)} seed{'s' * (len(own) > 1)})"
                for arch, own in found
            ]
            measured = ", ".join(accuracies)
            sentences.append(f"{group.label}: top-1 in % on the test images: {measured}")
    return sentences


def _of_rankings(rankings: Sequence[Pictures]) -> list[str]:
    """One sentence a ranking and target: the best proxy, and whether size alone does as well."""
    sentences = []
    for pictures in rankings:
        for target, rows in pictures.rows.items():
            proxies = [row for row in rows if not (row.baseline or row.control)]
            if best := next((row for row in proxies if not math.isnan(row.spearman)), None):
                verdict = "better than" if best.better_than_params else "not shown better than"
                sentences.append(
                    f"{pictures.title}, {target}: best proxy {best.proxy}, ρ {best.spearman:.3f} "
                    f"[{best.spearman_lo:.2f}, {best.spearman_hi:.2f}], {verdict} params"
                )
    return sentences


def _settings(runs: Sequence[Run], names: dict[Path, str]) -> dict[str, Any]:
    """Settings and versions of each run; before them, by command, those that are not alike."""
    tables = []
    for command in dict.fromkeys(run.command for run in runs):
        own = [run for run in runs if run.command == command]
        if apart := differences(own):
            lines = zip(*apart.values(), strict=True)
            rows = [(names[run.path], line) for run, line in zip(own, lines, strict=True)]
            tables.append((command or "unknown", list(apart), rows))
    listed = [
        (
            names[run.path],
            [(name, str(value)) for name, value in flatten(run.config)],
            list(run.summary.versions.items()) if run.summary else [],
        )
        for run in runs
    ]
    return {"differences": tables, "settings": listed}
