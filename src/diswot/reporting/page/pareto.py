"""Scores and measured accuracies of all runs against the sizes of their networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diswot.reporting.page.pictures import Pictures
from diswot.reporting.plots import distinct, finish_scores, front
from diswot.runs import SearchSummary, TrainSummary

if TYPE_CHECKING:
    from diswot.reporting.page.facts import Group
    from diswot.runs import CandidateRecord, RaceSummary


_SIZES = {
    **{"params": "parameters", "flops": "MACs", "latency_ms": "latency, ms"},
    "seconds": "seconds of the run, or of a training in a race",
}
_MARKS = {
    "": {"marker": "o", "ms": 3},
    "trained": {"marker": "o", "ms": 5},
    "largest scored": {"marker": "D", "ms": 9, "mfc": "white"},
    "control": {"marker": "D", "ms": 9, "mfc": "white"},
    "found": {"marker": "*", "ms": 9},
    "winner": {"marker": "*", "ms": 9},
    "teacher": {"marker": "^", "ms": 8},
}
_WIDE = 8  # times the smallest size, from which on the axis is logarithmic


@dataclass(frozen=True)
class Spot:
    """One network in a picture of sizes: of a run that ``label`` and ``seed`` name.

    ``mark`` is a key of ``_MARKS``; of those that have none the front alone is drawn. One without
    a value, score or accuracy, stands on the axis of sizes.
    """

    label: str
    seed: str
    mark: str
    arch: str
    value: float | None
    params: float | None
    flops: float | None
    seconds: float | None = None
    latency_ms: float | None = None

    @property
    def text(self) -> str:
        """What hovering shows."""
        sizes = {"parameters": self.params, "MACs": self.flops}
        known = [f"{size:,.0f} {name}" for name, size in sizes.items() if size is not None]
        known += [] if self.latency_ms is None else [f"{self.latency_ms:.4g} ms"]
        figures = [f"{self.value:.5g}" if self.value is not None else "no score", *known]
        run = [text for text in (self.mark, self.label, self.seed) if text]
        return f"{self.arch}: {', '.join(figures)} ({', '.join(run)})"


def pareto_pictures(
    searches: Sequence[tuple[Group, Pictures]],
    trainings: Sequence[Group],
    races: Mapping[str, RaceSummary],
) -> list[Pictures]:
    """One of every data set that was trained on, and one of every proxy that a search followed.

    Searches come with their pictures, which hold the candidates, races with their names. Races are
    brief, so they have pictures of their own, and a front for each rung.
    """
    scores: dict[str, list[list[Spot]]] = {}
    accuracies: dict[str, list[list[Spot]]] = {}
    found: list[SearchSummary] = []
    for group, pictures in searches:
        for seed, run in group.by_seed().items():
            if isinstance(run.summary, SearchSummary) and seed in pictures.searches:
                spots = _scored(run.summary, group.label, seed, pictures.searches[seed])
                scores.setdefault(run.summary.proxy, []).append([*spots])
                found.append(run.summary)
    for group in trainings:
        for seed, run in group.by_seed().items():
            if isinstance(run.summary, TrainSummary):
                (comparable,) = accuracies.setdefault(run.summary.data, [[]])
                comparable += _trained(run.summary, group.label, seed, found)
    brief: dict[str, list[list[Spot]]] = {}
    for name, race in races.items():
        for rung in range(1, len(race.rungs) + 1):
            brief.setdefault(race.data, []).append([*_raced(race, name, rung)])
    return [
        *_pictures("Measured accuracy on", "top-1 on the test images, %", accuracies),
        *_pictures("Races on", "top-1 on the test images, %", brief),
        *_pictures("Score by", "score (higher is better)", scores),
    ]


def _scored(
    summary: SearchSummary, label: str, seed: str, records: Sequence[CandidateRecord]
) -> Iterator[Spot]:
    """All candidates of a search; those to mark, which are among them, once more."""
    for row in distinct(records).itertuples():
        latency = None if math.isnan(row.latency_ms) else row.latency_ms
        yield Spot(label, seed, "", row.arch, row.score, row.params, row.flops, None, latency)
    if (top := summary.largest) is not None:
        own = (top.arch, top.score, top.params, top.flops, None, top.latency_ms)
        yield Spot(label, seed, "largest scored", *own)
    best = (summary.arch, summary.score, summary.params, summary.flops, summary.seconds)
    yield Spot(label, seed, "found", *best, summary.latency_ms)
    if (teacher := _teacher(summary.teacher, summary.data, None, [summary])) is not None:
        yield teacher


def _trained(
    summary: TrainSummary, label: str, seed: str, searches: Sequence[SearchSummary]
) -> Iterator[Spot]:
    """The network of a training, marked by what the searches say of it, and its teacher."""
    own = (summary.student, summary.test_top1, summary.params, summary.flops, summary.seconds)
    near = [each for each in searches if each.space == summary.space]
    yield Spot(label, seed, "trained", *own)
    if any(each.largest and each.largest.arch == summary.student for each in near):
        yield Spot(label, seed, "largest scored", *own)
    if any(each.arch == summary.student for each in near):
        yield Spot(label, seed, "found", *own)
    if summary.teacher_top1 is not None:
        teacher = _teacher(summary.teacher, summary.data, summary.teacher_top1, searches)
        if teacher is not None:
            yield teacher


def _raced(race: RaceSummary, name: str, rung: int) -> Iterator[Spot]:
    """Those whose last rung this was, the means over its seeds; the teacher on the last."""
    label = f"{name}, rung {rung} ({race.rungs[rung - 1]} epochs)"
    marks = {race.control: "control", race.arch: "winner"}
    for each in race.contestants:
        top1 = each.taught or each.alone
        if each.rung == rung and top1 is not None and not each.reason:
            seeds = f"mean of {top1.seeds} seeds" if top1.seeds > 1 else ""
            own = (each.arch, top1.mean, each.params, each.flops, each.seconds, each.latency_ms)
            yield Spot(label, seeds, marks.get(each.arch, "trained"), *own)
    if race.teacher is not None and rung == len(race.rungs):
        sizes = (race.teacher_params, race.teacher_flops)
        yield Spot("", "", "teacher", race.teacher, race.teacher_top1, *sizes)


def _teacher(
    name: str | None, data: str, value: float | None, searches: Sequence[SearchSummary]
) -> Spot | None:
    """The teacher where a search with it knows its sizes; a score it has none."""
    for each in searches:
        if name and (each.teacher, each.data) == (name, data) and each.teacher_params:
            latency = each.latency.teacher_ms if each.latency else None
            sizes = (each.teacher_params, each.teacher_flops, None, latency)
            return Spot("", "", "teacher", name, value, *sizes)
    return None


def _pictures(
    what: str, ylabel: str, kinds: Mapping[str, Sequence[Sequence[Spot]]]
) -> Iterator[Pictures]:
    from matplotlib import color_sequences
    from matplotlib.colors import to_hex

    # Of tab20 every second is one of tab10's, which come first, the others are paler.
    palette = [to_hex(c) for c in [*color_sequences["tab10"], *color_sequences["tab20"][1::2]]]
    for index, (kind, sets) in enumerate(kinds.items()):
        pictures = Pictures(f"{what} {kind}", f"front-{what[0].lower()}{index}")
        labels = dict.fromkeys(spot.label for spots in sets for spot in spots if spot.label)
        colors = {label: palette[i % len(palette)] for i, label in enumerate(labels)}
        pictures.key = [(color, label) for label, color in colors.items()]
        for size, xlabel in _SIZES.items():
            known = [each for spots in sets for spot in spots if (each := getattr(spot, size))]
            if len(known) > 1:  # one alone compares nothing
                with pictures.draw(f"{pictures.title} against {xlabel}") as axes:
                    _plot(axes, sets, size, colors)
                    axes.set(xlabel=xlabel, ylabel=ylabel)
        if pictures.panels or pictures.notes:
            yield pictures


def _plot(axes: Any, sets: Sequence[Sequence[Spot]], size: str, colors: Mapping[str, str]) -> None:
    """Values against a size, or against ``seconds``, with the front of every set.

    Values are comparable within a set. Colours are by label; the gid of a spot is its text.
    """
    import pandas as pd
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    marks: dict[str, None] = {}
    places = [getattr(spot, size) for spots in sets for spot in spots]
    for spots in sets:
        rows = [(spot, spot.value, getattr(spot, size)) for spot in dict.fromkeys(spots)]
        points = pd.DataFrame(rows, columns=["spot", "score", "params"])
        points = points.astype({"score": float, "params": float}).dropna(subset="params")
        scored = points.dropna().sort_values("score", ascending=False, kind="stable")
        best = front(scored)
        own = [colors[spot.label] for spot in best["spot"] if spot.label and len(sets) > 1]
        color = own[0] if own else "0.6"
        axes.plot(best["params"], best["score"], drawstyle="steps-post", color=color, lw=1)
        marked = points[[bool(spot.mark) for spot in points["spot"]]]
        drawn = pd.concat([best, marked]).drop_duplicates("spot")
        for spot, value, place in drawn.itertuples(index=False):
            bottom = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(
                [place],
                [0 if spot.value is None else value],
                **_MARKS[spot.mark],
                **(bottom if spot.value is None else {}),
                color=colors.get(spot.label, "0.3"),
                linestyle="none",
                gid=spot.text,
            )
            marks[spot.mark] = None
    for mark in filter(None, marks):
        axes.plot([], [], **_MARKS[mark], color="0.3", linestyle="none", label=mark)
    known = [place for place in places if place]
    if known and max(known) > _WIDE * min(known):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
    plain = size in ("seconds", "latency_ms")
    axes.xaxis.set_major_formatter("{x:g}" if plain else EngFormatter(sep=""))
    finish_scores(axes, axes.yaxis, [s.value for each in sets for s in each if s.value is not None])
