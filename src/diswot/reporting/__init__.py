"""Plans, results and plots of runs, and the report page; here what several of them need."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.runs.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from diswot.data.base import ImageData
    from diswot.models.outputs import Cost
    from diswot.runs import SearchSummary, TeacherAccuracy


@contextmanager
def drawing(
    path: Path, title: str, width: float, height: float, *, dpi: int = 120, fontsize: int = 11
) -> Iterator[Figure]:
    """A figure of a width and height in inches, which is written as a PNG in the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=fontsize)
    yield figure
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dpi)
    write_atomic(path, image.getvalue())


def conditions(
    config: Mapping[str, Any],
    data: ImageData,
    num_classes: int,
    *,
    cost: Cost | None,
    workers: int,
    path: Path,
) -> dict[str, str]:
    """The conditions of scores as a plan shows them, an entry a line; ``cost`` is the teacher's."""
    from diswot.console import shown

    teacher = config["teacher"]
    taught = f"{teacher['name']} (weights: {teacher['weights']}), {cost}" if cost else "none"
    size, batch = data.image_size, config["data"]["batch_size"]
    init = config["init"]["_target_"].rpartition(".")[2].lower()
    last = config["seed"] + config.get("seeds", 1) - 1
    seeds = f"seed {config['seed']}" if last == config["seed"] else f"seeds {config['seed']}–{last}"
    processes = f"{workers} worker{'s' if workers > 1 else ''}"
    return {
        "teacher": taught,
        "data": f"{data.name}, {batch} images of {size}×{size}, {num_classes} classes",
        "init": f"{init}, {seeds}",
        "device": f"{config['device']}, {config['precision']}, {processes}",
        "run dir": shown(path),
    }


def teacher_lines(
    name: str | None, accuracy: TeacherAccuracy | None, problem: str | None = None
) -> Iterator[str]:
    """How good the teacher is that students learn from, or the problem with measuring it."""
    from diswot.teaching import doubt  # imports torch

    if problem is not None:
        yield f"The accuracy of the teacher was not measured: {problem}"
    if accuracy is not None:
        share = f"{accuracy.images:,} of the " if accuracy.images < accuracy.of else "the "
        yield (
            f"Students learn from {name} (weights: {accuracy.weights}), itself top-1 "
            f"{accuracy.top1:.2f} % on {share}{accuracy.of:,} test images"
        )
    if doubted := doubt(str(name), accuracy):
        yield f"Doubtful: {doubted}"


def place_lines(summary: SearchSummary) -> Iterator[str]:
    """How firm the order of the best is under other seeds, in one line where that is known."""
    others = dict(summary.places)
    if own := others.pop(str(summary.seed), None):  # results of older versions lack it
        first = own.index(1)
        same = sum(each[first] == 1 for each in others.values())
        orders = [f"{' '.join(map(str, each))} with seed {s}" for s, each in others.items()]
        yield (
            f"Among themselves the best {len(own)} take places {' '.join(map(str, own))}, scored "
            f"again {' and '.join(orders)}: the first is the same in {same} of {len(others)}"
        )


def latency_lines(summary: SearchSummary) -> Iterator[str]:
    """What the latencies of a search are, in one line where it has any."""
    if (latency := summary.latency) is not None:
        spread = ""
        if latency.spread is not None:
            spread = f"; interquartile range of the passes {latency.spread:.1%} (median)"
        yield f"Latency, ms: {latency.source}{spread}"


def front_lines(summary: SearchSummary) -> Iterator[str]:
    """The Pareto front of a search in one line, where it has one."""
    from diswot.console import counted, part_of_front

    if count := len(summary.front):
        some = part_of_front(summary)
        archs = f"{'' if len(some) == count else 'of them '}{', '.join(each.arch for each in some)}"
        number = counted(count, "architecture")
        yield f"Pareto front ({', '.join(summary.objectives)}), {number}: {archs}"


def size_lines(summary: SearchSummary) -> dict[str, dict[str, float | None]]:
    """The sizes that a search is drawn against, and of each its budget and its teacher's."""
    sizes = [name for name in summary.objectives if name != "fitness"] or ["params"]
    teacher: dict[str, float | None] = {"params": summary.teacher_params}
    teacher |= {"flops": summary.teacher_flops}
    teacher |= {"latency_ms": summary.latency.teacher_ms if summary.latency else None}
    return {s: {"budget": summary.budget.get(s), "teacher": teacher.get(s)} for s in sizes}


def largest_lines(summary: SearchSummary) -> Iterator[str]:
    """What the number of parameters alone would choose, in one line where that is known."""
    if (largest := summary.largest) is not None:
        yield (
            f"Of those scored, parameters alone would choose {largest.arch}: {largest.params:,} "
            f"parameters, {largest.flops:,} MACs; by {summary.proxy} it is number "
            f"{summary.largest_place:,}"
        )


def validation_lines(summary: SearchSummary) -> Iterator[str]:
    """How far the score of a search is known to hold on its space, one line a target."""
    for each in summary.validated:
        lead = ""
        if each.lead is not None:
            lead = f"; lead {each.lead:+.2f} [{each.lead_low:+.2f}, {each.lead_high:+.2f}]"
        yield (
            f"{summary.proxy} on {each.n:,} architectures of {summary.space} ({each.dataset} "
            f"{each.target}): Spearman {each.spearman:.2f} [{each.low:.2f}, {each.high:.2f}], "
            f"parameters {each.params:.2f}{lead}"
        )
