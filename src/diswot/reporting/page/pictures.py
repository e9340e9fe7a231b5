"""The pictures of searches, trainings and rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diswot.reporting.curves import LOSSES, plot_losses, plot_rate, plot_top1
from diswot.reporting.page import reading
from diswot.reporting.page.accuracies import known_accuracies
from diswot.reporting.page.facts import at, number
from diswot.reporting.page.heat import heat_maps
from diswot.reporting.page.matrices import similarity
from diswot.reporting.page.picture import Picture
from diswot.reporting.page.svg import plain
from diswot.reporting.rank_plot import BAR, plot_target, rank_legend
from diswot.reporting.search_plot import Point, distinct, plot_accuracy, plot_course, plot_params

if TYPE_CHECKING:
    from diswot.reporting.page.groups import Group
    from diswot.runs import RankRow, Run

__all__ = ["of_ranking", "of_search", "of_similarity", "of_training"]

_SIZES = ("params", "flops")
_TARGETS = 24  # of a ranking that are shown
_BARS = 60  # in one picture
_ROWS = 1000  # in one table

Searches = Mapping[str, Sequence[Point]]


def of_search(group: Group, name: str) -> Picture:
    """Course of the search, scores against size and, where it is known, against accuracy.

    Args:
        group: Of searches.
        name: See `Picture`.
    """
    picture = Picture(group.label, name)
    read = picture.read_all(reading.points, group)
    found = {seed: points for seed, points in read.items() if distinct(points)}
    if not found:
        picture.notes.append("No candidate was scored.")
        return picture
    with picture.draw("Best and mean score as the search went on") as axes:
        plot_course(axes, found)
    with picture.draw("Score against number of parameters") as axes:
        plot_params(axes, found, number(at(group.runs[0].config, "budget", "params")))
    _accuracy(group.runs[0], found, picture)
    return picture


def _accuracy(run: Run, found: Searches, picture: Picture) -> None:
    known = known_accuracies(run)
    asked = {point.arch for points in found.values() for point in distinct(points)}
    if known.problem:
        picture.notes.append(f"No picture of accuracy: {known.problem}.")
    elif not asked & set(known.accuracy):
        picture.notes.append(f"No picture of accuracy: {known.source} has none of these networks.")
    else:
        with picture.draw(f"Accuracy ({known.label}) against score") as axes:
            plot_accuracy(axes, found, known.accuracy, f"top-1, % ({known.label})")
        picture.notes.append(f"Accuracies: {known.source}. The search did not see them.")
    if at(run.config, "benchmark", "path"):
        picture.notes.append("The file that the run's benchmark.path names was not opened.")


def of_training(group: Group, name: str) -> Picture:
    """Losses, accuracy and learning rate over the epochs; arguments as in `of_search`."""
    picture = Picture(group.label, name)
    found = picture.read_all(reading.epochs, group)
    if not found:
        picture.notes.append("No epoch was finished.")
        return picture
    validated = [run.result.get("validated_on") for run in group.runs]
    images = next((each for each in validated if each in ("val", "test")), "validation")
    most = max(len(epochs[0].losses) for epochs in found.values())
    if most > LOSSES and len(found) == 1:
        picture.notes.append(f"{LOSSES} of {most:,} losses are drawn.")
    with picture.draw("Training losses over the epochs") as axes:
        plot_losses(axes, found)
    with picture.draw("Accuracy over the epochs") as axes:
        plot_top1(axes, found, images)
    with picture.draw("Learning rate over the epochs") as axes:
        plot_rate(axes, found)
    return picture


def of_ranking(run: Run, title: str, name: str) -> Picture:
    """A bar a proxy, for each data set and target.

    Args:
        run: A ranking that has finished.
        title: What to call it.
        name: See `Picture`.
    """
    picture = Picture(title, name)
    rows = picture.read(reading.rank_rows, run, title) or []
    by_target: dict[str, list[RankRow]] = {}
    for row in rows:
        by_target.setdefault(f"{row.dataset} {row.target}", []).append(row)
    picture.counts = {target: len(own) for target, own in by_target.items()}
    for target, own in list(by_target.items())[:_TARGETS]:
        picture.rows[target] = _best(own, _ROWS)
        _bars(picture, target, [replace(r, proxy=plain(r.proxy)) for r in _best(own, _BARS)])
    picture.notes += _left_out(picture.counts)
    return picture


def _best(rows: Sequence[RankRow], limit: int) -> list[RankRow]:
    """Those with the highest correlation, size always among them, in the order they are in."""

    def last(index: int) -> tuple[bool, float]:
        rho = rows[index].spearman
        return rows[index].proxy not in _SIZES, math.inf if math.isnan(rho) else -rho

    return [rows[index] for index in sorted(sorted(range(len(rows)), key=last)[:limit])]


def _left_out(counts: Mapping[str, int]) -> list[str]:
    """Sentences on what a ranking has beyond what is shown."""
    told, most = [], max(counts.values(), default=0)
    if len(counts) > _TARGETS:
        told.append(f"The first {_TARGETS} of {len(counts)} targets are shown.")
    if most > _BARS:
        told.append(f"Of {most:,} proxies the best {_BARS} are drawn, with params and FLOPs.")
    if most > _ROWS:
        told.append(f"A table holds the best {_ROWS:,}; rank.csv has all.")
    return told


def _bars(picture: Picture, target: str, rows: Sequence[RankRow]) -> None:
    handles = rank_legend(rows)
    height = BAR * len(rows) + 0.9 + 0.19 * len(handles)
    low = min((row.spearman_lo for row in rows if row.spearman_lo < 0), default=0.0)
    label = f"Rank correlation of each proxy with {target}"
    with picture.draw(label, width=5.2, height=height) as axes:
        plot_target(axes, rows, plain(target))
        axes.set_xlim(low - 0.05 if low else 0, 1.0)
        axes.figure.legend(handles=handles, loc="outside lower left", fontsize=8, frameon=False)


def of_similarity(group: Group, name: str) -> Picture:
    """Matrices of teacher and found student, of the first seed that has them; see `of_search`."""
    picture = Picture(group.label, name)
    for seed, run in group.named().items():
        pairs = picture.read(similarity, run, seed)
        if pairs:
            picture.heats = {kind: heat_maps(*pair) for kind, pair in pairs.items()}
            picture.notes.append(f"{seed}, student {run.result.get('arch', 'not known yet')}.")
            break
    return picture
