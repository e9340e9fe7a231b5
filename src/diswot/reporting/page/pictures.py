"""Pictures of searches, trainings, rankings and similarity matrices, as inline SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from diswot.config import conf_dir, member_node
from diswot.errors import UnreadableError, UserError
from diswot.reporting import (
    front_lines,
    largest_lines,
    latency_lines,
    place_lines,
    plots,
    size_lines,
    teacher_lines,
    validation_lines,
)
from diswot.reporting.page.facts import Group, at, number
from diswot.reporting.rank_plot import BAR, plot_target, rank_legend
from diswot.runs import SearchSummary, read_candidates, read_epochs, read_rank_rows, read_similarity

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.runs import CandidateRecord, RankRow, Run


T = TypeVar("T")

_SIZES = {"params": "number of parameters", "flops": "MACs", "latency_ms": "latency"}
_SEEDS = 10  # drawn in one picture; there are as many colours
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 160.0,  # of what is drawn as an image
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class Panel(NamedTuple):
    """An ``svg`` element, dark on a transparent ground, and what it shows for who cannot see it."""

    label: str
    svg: str


@dataclass
class Pictures:
    """Pictures of one group of runs, or of one ranking.

    ``name`` is unlike that of any other on the page, of letters, digits and hyphens; ``rows`` are
    those of a ranking by data set and target, ``searches`` candidates by seed, ``key`` colours and
    what they stand for, ``notes`` sentences on what is missing, and where figures are from.
    """

    title: str
    name: str
    panels: list[Panel] = field(default_factory=list)
    rows: dict[str, list[RankRow]] = field(default_factory=dict)
    searches: dict[str, list[CandidateRecord]] = field(default_factory=dict)
    key: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self, reader: Callable[[Path], T], run: Run, who: str) -> T | None:
        """What a reader gives of a run's folder; if a file is damaged, a note says so."""
        try:
            return reader(run.path)
        except UnreadableError as error:
            line = "" if error.line is None else f", line {error.line}"
            self.notes.append(f"{who}: {error.file.name}{line} cannot be read: {error.problem}.")
            return None

    def read_all(self, reader: Callable[[Path], Sequence[T]], group: Group) -> dict[str, list[T]]:
        """The same of the runs of a group, by seed, as many as one picture can show."""
        runs = group.by_seed()
        if len(runs) > _SEEDS:
            self.notes.append(f"The first {_SEEDS} of {len(runs)} seeds are drawn.")
        known = {seed: self.read(reader, run, seed) for seed, run in list(runs.items())[:_SEEDS]}
        unfinished = [f"{seed} ({run.state})" for seed, run in runs.items() if not run.summary]
        if unfinished:
            self.notes.append(f"Drawn as far as they have come: {', '.join(unfinished)}.")
        return {seed: list(records) for seed, records in known.items() if records}

    @contextmanager
    def draw(self, label: str, width: float = 4.4, height: float = 3.1) -> Iterator[Any]:
        """Axes of a width and height in inches for a panel; a note where matplotlib cannot.

        An artist that is given a gid shows it when the pointer is over it.
        """
        import matplotlib as mpl
        from matplotlib.figure import Figure

        name, text = f"{self.name}-{len(self.panels)}", io.StringIO()
        try:
            with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of missing glyphs (the browser's font has them)
                figure = Figure(figsize=(width, height), layout="constrained")
                yield figure.subplots()
                figure.draw_without_rendering()
                shown = {}
                for index, artist in enumerate(figure.findobj()):
                    gid = f"{name}-{index}"  # unlike those of other pictures
                    shown[f'<g id="{gid}">'] = artist.get_gid()
                    artist.set_gid(gid)
                figure.savefig(text, format="svg", metadata=_NO_METADATA)
        except (ValueError, ArithmeticError, MemoryError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            self.notes.append(f"No picture “{label}”: {problem[:200]}.")
        else:
            svg = text.getvalue()
            for start, title in shown.items():
                if title is not None:
                    svg = svg.replace(start, f"{start}<title>{escape(title)}</title>", 1)
            self.panels.append(Panel(label, svg[svg.index("<svg") :]))


def search_pictures(group: Group, name: str) -> Pictures:
    """Course of a search, scores against size and, where it is known, against accuracy.

    The notes say how firm the answer is.
    """
    pictures = Pictures(group.label, name)
    read = pictures.read_all(read_candidates, group)
    searches = {seed: records for seed, records in read.items() if len(plots.distinct(records))}
    pictures.searches = searches
    if not searches:
        pictures.notes.append("No candidate was scored.")
        return pictures
    config = group.runs[0].config
    with pictures.draw("Best and mean score as the search went on") as axes:
        plots.plot_course(axes, searches)
    summary = group.runs[0].summary
    sizes = size_lines(summary) if isinstance(summary, SearchSummary) else {"params": {}}
    for size, lines in sizes.items():
        limit = number(at(config, "budget", size)) or lines.get("budget")
        with pictures.draw(f"Score against {_SIZES.get(size, size)}") as axes:
            plots.plot_size(axes, searches, {**lines, "budget": limit}, size)
    found = {seed: run.summary for seed, run in group.by_seed().items()}
    summaries = {s: each for s, each in found.items() if isinstance(each, SearchSummary)}
    for seed, summary in summaries.items():
        who = f"{seed}: " if len(found) > 1 else ""
        own = [*place_lines(summary), *largest_lines(summary), *front_lines(summary)]
        own += latency_lines(summary)
        pictures.notes += [f"{who}{line}." for line in own]
    known = [
        f"{line}."
        for each in summaries.values()
        for line in (*validation_lines(each), *teacher_lines(each.teacher, each.teacher_accuracy))
    ]
    pictures.notes += dict.fromkeys(known)  # the same of every seed
    try:
        benchmark = _known_accuracies(config.get("space"))
        dataset, target = min(benchmark.entries(), key=lambda entry: entry[1] != "distilled")
        accuracy = {arch: benchmark.lookup(arch, dataset, target) for arch in benchmark.archs()}
        if not any(record.arch in accuracy for records in searches.values() for record in records):
            raise UserError(f"none of these networks is among those known ({benchmark.source})")
        label = f"{dataset}, {target}"
        with pictures.draw(f"Accuracy ({label}) against score") as axes:
            plots.plot_accuracy(axes, searches, accuracy, f"top-1, % ({label})")
        pictures.notes.append(f"Accuracies: {benchmark.source}. The search did not see them.")
    except (UserError, OSError) as error:
        pictures.notes.append(f"No picture of accuracy: {error}.")
    if at(config, "benchmark", "path"):
        pictures.notes.append("The file that the run's benchmark.path names was not opened.")
    return pictures


def _known_accuracies(space: object) -> Benchmark:
    """The benchmark of a space, a node of a run's config, by this package's own config of it.

    Nothing that the run names is built or opened: of its space only the settings are looked at.
    A UserError says that no accuracies are known of it, or not with these settings.
    """
    from diswot.accuracies import benchmark_of

    settings = space if isinstance(space, Mapping) else {}
    name = str(settings.get("name"))
    if not (conf_dir() / "benchmark" / f"{name}.yaml").is_file():
        raise UserError(f"no accuracies are known of space {name}")
    node = member_node("benchmark", name, [conf_dir()])
    return benchmark_of({"benchmark": node, "space": settings})


def training_pictures(group: Group, name: str) -> Pictures:
    """Losses, accuracy and learning rate of a training over the epochs."""
    pictures = Pictures(group.label, name)
    trainings = pictures.read_all(read_epochs, group)
    if not trainings:
        pictures.notes.append("No epoch was finished.")
        return pictures
    images = [str(run.result["validated_on"]) for run in group.runs if run.summary]
    with pictures.draw("Training losses over the epochs") as axes:
        plots.plot_losses(axes, trainings)
    with pictures.draw("Accuracy over the epochs") as axes:
        plots.plot_top1(axes, trainings, images[0] if images else "validation")
    with pictures.draw("Learning rate over the epochs") as axes:
        plots.plot_rate(axes, trainings)
    return pictures


def ranking_pictures(run: Run, title: str, name: str) -> Pictures:
    """Bars of the rank correlation of each proxy of a finished ranking, target by target."""
    pictures = Pictures(title, name)
    for row in pictures.read(read_rank_rows, run, title) or []:
        pictures.rows.setdefault(f"{row.dataset} {row.target}", []).append(row)
    for target, rows in pictures.rows.items():
        handles = rank_legend(rows)
        height = BAR * len(rows) + 0.9 + 0.19 * len(handles)
        low = min((row.spearman_lo for row in rows if row.spearman_lo < 0), default=0.0)
        with pictures.draw(f"Rank correlation of each proxy with {target}", 4.6, height) as axes:
            plot_target(axes, rows, target)
            axes.set_xlim(low - 0.05 if low else 0, 1.0)
            axes.figure.legend(handles=handles, loc="outside lower left", fontsize=8, frameon=False)
    return pictures


def similarity_pictures(group: Group, name: str) -> Pictures:
    """Matrices of teacher and found student in the same colours, and where they differ.

    Of the searches of a group the first that has matrices is shown.
    """
    pictures = Pictures(group.label, name)
    for seed, run in group.by_seed().items():
        pairs = pictures.read(read_similarity, run, seed)
        for kind, (teacher, student) in (pairs or {}).items():
            limits = np.min([teacher, student]), np.max([teacher, student])
            apart = np.abs(teacher - student)
            for title, matrix, (low, high) in (
                ("teacher", teacher, limits),
                ("student", student, limits),
                ("|teacher − student|", apart, (0, None)),
            ):
                with pictures.draw(f"{kind} similarity, {title}", 3.6, 3.0) as axes:
                    axes.figure.colorbar(axes.imshow(matrix, vmin=low, vmax=high), ax=axes)
                    axes.set(title=f"{kind}: {title}", aspect="auto")
                    axes.title.set_fontsize(10)
        if pairs:
            arch = run.result.get("arch", "not known yet")
            pictures.notes.append(f"{seed}, student {arch}.")
            break
    return pictures
