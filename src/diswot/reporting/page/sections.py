"""Sections of the page, as the template takes them."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diswot.config import flatten
from diswot.reporting.page.facts import COLUMNS, run_facts, seed_figures
from diswot.reporting.page.groups import Group, differences, group_runs
from diswot.reporting.page.pictures import (
    Pictures,
    ranking_pictures,
    search_pictures,
    similarity_pictures,
    training_pictures,
)
from diswot.runs import Run

__all__ = ["run_sections"]

_DRAWN = 24  # groups of a section
_WITH_RECORDS = ("finished", "running", "unfinished", "stopped", "failed")


def run_sections(runs: Sequence[Run]) -> dict[str, Any]:
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
    left_out = max(len(searches), len(trainings), len(rankings)) > _DRAWN
    return {
        "counts": Counter(run.state for run in runs),
        "problems": [(names[run.path], run.state, run.problem) for run in runs if run.problem],
        "columns": COLUMNS,
        "runs": [run_facts(run, names[run.path]) for run in runs if run.state != "foreign"],
        "groups": [(group, figures) for group in groups if (figures := seed_figures(group.runs))],
        "rankings": ranked,
        "searches": [search_pictures(g, f"search{i}") for i, g in enumerate(searches[:_DRAWN])],
        "trainings": [training_pictures(g, f"train{i}") for i, g in enumerate(trainings[:_DRAWN])],
        "similarities": [each for each in similar if each.panels or each.notes],
        "drawn": _DRAWN if left_out else 0,
        "findings": [*_of_groups(groups[:_DRAWN]), *_of_rankings(ranked)],
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
        finished = [run for run in group.runs if run.summary]
        if group.command == "search" and finished:
            found = Counter(run.result["arch"] for run in finished).most_common()
            archs = [f"{arch} ({n} of {len(finished)})" for arch, n in found[:3]]
            more = f" and {len(found) - 3} others" if len(found) > 3 else ""
            text = ", ".join(archs) if len(finished) > 1 else found[0][0]
            sentences.append(f"{group.label}: found {text}{more}")
        elif "top1" in (figures := seed_figures(finished)):
            count = len(figures["top1"].values)
            accuracy = f"{figures['top1'].text} ({count} seed{'s' if count > 1 else ''})"
            sentences.append(f"{group.label}: top-1 in % on the test images: {accuracy}")
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
