"""What stands on the page, section by section, as the template takes it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diswot.reporting.page.facts import COLUMNS, facts
from diswot.reporting.page.groups import Group, differences, flat, groups
from diswot.reporting.page.picture import Picture
from diswot.reporting.page.pictures import of_ranking, of_search, of_similarity, of_training
from diswot.reporting.page.spread import Spread, spread
from diswot.runs import Run

__all__ = ["run_sections"]

_DRAWN = 24  # groups drawn in a section
_OPENED = 200  # runs whose settings are listed
_DEEP = ("finished", "running", "unfinished", "stopped", "failed")
"""States of runs that have something to draw."""


def run_sections(runs: Sequence[Run]) -> dict[str, Any]:
    """All that the page says of runs.

    Args:
        runs: In any state.
    """
    names = _names([run.path for run in runs])
    usable = [run for run in runs if run.state in _DEEP]
    grouped = groups(usable)
    searches = [group for group in grouped if group.command == "search"]
    trainings = [group for group in grouped if group.command == "train"]
    rankings = [run for run in usable if run.command == "rank" and run.state == "finished"]
    pictured = [
        of_ranking(run, names[run.path], f"rank{index}")
        for index, run in enumerate(rankings[:_DRAWN])
    ]
    similar = [
        each for each in _drawn(of_similarity, searches, "similar") if each.heats or each.notes
    ]
    return {
        "counts": Counter(run.state for run in runs),
        "problems": [(names[run.path], run.state, run.problem) for run in runs if run.problem],
        "columns": COLUMNS,
        "runs": [facts(run, names[run.path]) for run in runs if run.state != "foreign"],
        "groups": [(group, spread(group)) for group in grouped if _finished(group)],
        "searches": _drawn(of_search, searches, "search"),
        "rankings": pictured,
        "trainings": _drawn(of_training, trainings, "train"),
        "similarities": similar,
        "left_out": max(len(searches), len(trainings), len(rankings)) > _DRAWN and _DRAWN,
        "findings": [*_of_groups(grouped), *_of_rankings(pictured)],
        **_settings(runs, names),
    }


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Paths below what they share, or the folder's name where there is one only."""
    absolute = [path.absolute() for path in paths]
    if len(absolute) < 2:
        return {path: path.resolve().name for path in paths}
    shared = Path(os.path.commonpath(absolute))
    return {
        path: str(whole.relative_to(shared)) if whole != shared else shared.name
        for path, whole in zip(paths, absolute, strict=True)
    }


def _finished(group: Group) -> bool:
    return any(run.state == "finished" for run in group.runs)


def _drawn(
    draw: Callable[[Group, str], Picture], some: Sequence[Group], name: str
) -> list[Picture]:
    return [draw(group, f"{name}{index}") for index, group in enumerate(some[:_DRAWN])]


def _settings(runs: Sequence[Run], names: dict[Path, str]) -> dict[str, Any]:
    """Settings and versions of each run; before them, by command, what is not the same in all."""
    configured = [run for run in runs if run.config]
    apart = []
    for command in dict.fromkeys(run.command for run in configured):
        own = [run for run in configured if run.command == command]
        if len(own) > 1 and (found := differences(own)):
            lines = zip(*found.values(), strict=True)
            told = [(names[run.path], line) for run, line in zip(own, lines, strict=True)]
            apart.append((command or "unknown", list(found), told))
    listed = [
        (
            names[run.path],
            [(name, str(value)) for name, value in flat(run.config).items()],
            [(name, str(value)) for name, value in _mapping(run.result.get("versions")).items()],
        )
        for run in configured[:_OPENED]
    ]
    return {"differences": apart, "settings": listed, "unlisted": len(configured) - len(listed)}


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _of_groups(grouped: Sequence[Group]) -> list[str]:
    """One sentence a group: what was found or reached."""
    told = []
    for group in grouped[:_DRAWN]:
        figures, done = spread(group), [run for run in group.runs if run.state == "finished"]
        if not done:
            continue
        if group.command == "search":
            found = Counter(str(run.result.get("arch")) for run in done).most_common()
            archs = ", ".join(f"{arch} ({n} of {len(done)})" for arch, n in found[:3])
            more = f" and {len(found) - 3} others" if len(found) > 3 else ""
            told.append(f"{group.label}: found {archs if len(done) > 1 else found[0][0]}{more}")
        elif "top1" in figures:
            told.append(
                f"{group.label}: top-1 in % on the test images: {_of_seeds(figures['top1'])}"
            )
    return told


def _of_seeds(figure: Spread) -> str:
    """Mean ± standard deviation and how many seeds."""
    count = len(figure.values)
    return f"{figure.text} ({count} seed{'s' if count > 1 else ''})"


def _of_rankings(rankings: Sequence[Picture]) -> list[str]:
    """One sentence a ranking and target: the best proxy, and whether size alone does as well."""
    told = []
    for picture in rankings:
        for target, rows in picture.rows.items():
            asked = [row for row in rows if not (row.baseline or row.control)]
            known = [row for row in asked if row.spearman == row.spearman]
            if known:
                best = known[0]
                verdict = "better than" if best.better_than_params else "not shown better than"
                told.append(
                    f"{picture.title}, {target}: best proxy {best.proxy}, ρ {best.spearman:.3f} "
                    f"[{best.spearman_lo:.2f}, {best.spearman_hi:.2f}], {verdict} params"
                )
    return told
