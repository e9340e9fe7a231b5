"""A race on the terminal, and its result.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from diswot.console import counted, figures, number, print_lines, print_pairs, print_table, shown
from diswot.errors import UserError
from diswot.racing.halving import estimate
from diswot.runs import Contestant, Estimate, RaceRecord, RaceSummary, SearchSummary, read_summary
from diswot.runs.races import side
from diswot.teaching import teacher_cost
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.racing.engine import Race
    from diswot.racing.halving import Plan
    from diswot.training.setup import TrainingSetup


_FEW = 100  # images, on which accuracies differ by a percent at least


def images_an_epoch(config: Mapping[str, Any], setup: TrainingSetup) -> int:
    """The training images of an epoch; ``setup`` is that of any training of the race."""
    there, batch = setup.batches.training.count, setup.data.batch_size
    wanted = config["images"]
    return batch * (there if wanted is None else min(there, max(1, wanted // batch)))


def _training_images(setup: TrainingSetup) -> int:
    """Those of the data, the ones that decide a rung among them."""
    validation = setup.batches.validation
    held_out = 0 if setup.batches.validated_on == "test" else len(validation.chosen)
    return len(setup.batches.training.chosen) + held_out


def show_plan(
    config: Mapping[str, Any], plan: Plan, setup: TrainingSetup, path: Path, workers: int
) -> None:
    """What a race is about to do, one line an item."""
    data, teacher = setup.data, config["teacher"]
    images, there = images_an_epoch(config, setup), len(setup.batches.training.chosen)
    deciding = len(setup.batches.validation.chosen)
    cost = teacher_cost(teacher, data.num_classes, data.image_shape)
    taught = f"{teacher['name']} (weights: {teacher['weights']}), {cost}; "
    taught += " + ".join(config["distiller"])
    if not plan.taught:
        taught = "none with trained weights: students learn from the labels alone"
    counts, rungs = plan.fields(), [*plan.rungs]
    ways = 2 if plan.taught else 1
    trainings = sum(counts[:-1]) + len(plan.seeds) * (
        counts[-1] + (ways - 1) + (ways if plan.control else 0)
    )
    steps = [
        f"{count} for {counted(epochs, 'epoch')}"
        for count, epochs in zip(counts, rungs, strict=True)
    ]
    beside = " beside the control" if plan.control else ""
    alone = "; in the end also alone" if plan.taught else ""
    few = " (too few to tell students apart: give a larger protocol.validation, such as 0.3)"
    few = few if deciding < _FEW else ""
    several = f", {workers} trainings side by side" if workers > 1 else ""
    print_pairs(
        {
            "students": ", ".join(plan.archs),
            "control": plan.control or "none",
            "teacher": taught,
            "rungs": f"{', then '.join(steps)}{beside}, {counted(len(plan.seeds), 'seed')}{alone}: "
            f"at most {counted(trainings, 'training')}; {deciding:,} {setup.batches.validated_on} "
            f"images decide{few}",
            "data": f"{data.name}, {data.num_classes} classes; an epoch is {images:,} of {there:,} "
            f"images of {data.image_size}×{data.image_size}",
            "brief": "few epochs of few images order students; trained in full they reach far more",
            "protocol": f"{setup.protocol.name}, batch {data.batch_size}, seed {config['seed']}",
            "device": f"{config['device']}, {config['precision']}{several}",
            "run dir": shown(path),
        }
    )


def show_training(record: RaceRecord, count: int) -> None:
    """One line on what has finished."""
    if not record.rung:
        own = "has no classifier for these classes"
        if record.test_top1 is not None:
            own = f"{record.test_top1:.2f} % on the test images"
        print_lines([f"teacher {record.arch}: {own}"])
        return
    how = "taught" if record.taught else "alone"
    top1 = "diverged"
    if record.val_top1 is not None:
        top1 = f"{record.val_top1:.2f} %, test {record.test_top1:.2f} %"
    print_lines(
        [
            f"rung {record.rung}  {record.arch} {how}, seed {record.seed}, "
            f"{counted(record.epochs, 'epoch')}: {top1}  {record.seconds:.0f} s"
        ]
    )


def export(
    race: Race, setup: TrainingSetup, winner: str, found: SearchSummary | None = None
) -> RaceSummary:
    """Write result.json; gives what it holds. ``setup`` is that of any training of the race.

    ``found`` is the search where the race has none to read.
    """
    config, plan = race.config, race.plan
    archs = dict.fromkeys([*plan.archs, *([plan.control] if plan.control else [])])
    latencies = _latencies(config["run"], found)
    made = [
        replace(_contestant(race, plan, arch), latency_ms=latencies.get(arch)) for arch in archs
    ]
    made.sort(key=lambda each: (each.arch != winner, -each.rung, -(each.val_top1 or 0.0)))
    margin = None
    if plan.control not in (None, winner):
        both = (race.of(arch, taught=plan.taught) for arch in (winner, str(plan.control)))
        margin = _paired(*both)
    trained = [record for record in race.records if record.rung]
    taught_by = next((record for record in race.records if not record.rung), None)
    best, teacher = made[0], config["teacher"]
    main = best.taught or best.alone
    assert main is not None
    summary = RaceSummary(
        space=config["space"]["name"],
        arch=winner,
        test_top1=main.mean,
        params=best.params,
        flops=best.flops,
        control=plan.control,
        margin=margin,
        contestants=made,
        teacher=teacher["name"] if plan.taught else None,
        teacher_weights=teacher["weights"] if plan.taught else None,
        teacher_input=teacher.get("input"),
        teacher_top1=taught_by.test_top1 if taught_by else None,
        teacher_params=taught_by.params if taught_by else None,
        teacher_flops=taught_by.flops if taught_by else None,
        distiller=list(config["distiller"]),
        data=setup.data.name,
        protocol=setup.protocol.name,
        rungs=list(plan.rungs),
        images=images_an_epoch(config, setup),
        training_images=_training_images(setup),
        validated_on=setup.batches.validated_on,
        trained=len(trained),
        seed=config["seed"],
        seeds=len(plan.seeds),
        seconds=round(sum(record.seconds for record in trained), 1),
        device=config["device"],
        versions=versions(),
    )
    race.run_dir.save_result(summary)
    return summary


def _latencies(run: str | None, found: SearchSummary | None) -> dict[str, float | None]:
    """What the search knew of its best; nothing where its run directory is gone by now."""
    if run is not None:
        with suppress(UserError):
            found = read_summary(Path(run).expanduser() / "result.json", SearchSummary)
    if found is None:
        return {}
    best = [*found.top, *([found.largest] if found.largest else [])]
    return {each.arch: each.latency_ms for each in best}


def _contestant(race: Race, plan: Plan, arch: str) -> Contestant:
    main = race.of(arch, taught=plan.taught)
    alone = race.of(arch, taught=False)
    reason = next((record.reason for record in main if record.reason), None)
    top1 = {
        name: estimate([r.test_top1 for r in records if r.test_top1 is not None])
        for name, records in (("taught", main if plan.taught else []), ("alone", alone))
    }
    return Contestant(
        arch=arch,
        rung=main[0].rung,
        val_top1=None if reason else sum(r.val_top1 or 0.0 for r in main) / len(main),
        taught=top1["taught"],
        alone=top1["alone"],
        gain=_paired(main, alone) if plan.taught else None,
        params=main[0].params,
        flops=main[0].flops,
        seconds=round(sum(record.seconds for record in main) / len(main), 1),
        reason=reason,
    )


def _paired(ours: Sequence[RaceRecord], others: Sequence[RaceRecord]) -> Estimate | None:
    """The mean difference of test accuracies, paired by seed; None where there are no pairs."""
    theirs = {record.seed: record.test_top1 for record in others}
    pairs = [(record.test_top1, theirs.get(record.seed)) for record in ours]
    return estimate([a - b for a, b in pairs if a is not None and b is not None])


def show_result(summary: RaceSummary, path: Path) -> None:
    """The contestants as a table, what it says, and the files."""
    title, columns, rows = contestant_table(summary)
    table = figures(columns[:1], columns[1:], title, ("taught", "alone", "gain", "s a training"))
    for row in rows:
        table.add_row(*row)
    print_table(table)
    files = [f"  {shown(path / n)}" for n in ("result.json", summary.checkpoint)]
    work = f"{counted(summary.trained, 'training')} of {summary.seconds:.0f} s in all"
    print_lines([*verdicts(summary), work, *files])


def contestant_table(summary: RaceSummary) -> tuple[str, list[str], list[list[str]]]:
    """Title, columns and rows of what a race measured: its teacher, the winner, the others."""
    title = (
        f"Top-1, % on the test images of {summary.data}"
        f"{f', ± half the 95 % interval over {summary.seeds} seeds' if summary.seeds > 1 else ''}"
    )
    timed = any(each.latency_ms is not None for each in summary.contestants)
    columns = ["student", "rung", "taught", "alone", "gain", "params", "MACs", *["ms"] * timed]
    rows = []
    if summary.teacher is not None:
        counts = (summary.teacher_params, summary.teacher_flops)
        own = ("" if count is None else f"{count:,}" for count in counts)
        top1 = "—" if summary.teacher_top1 is None else f"{summary.teacher_top1:.2f}"
        rows.append([f"{summary.teacher} (teacher)", "", "", top1, "", *own, *[""] * timed, ""])
    for each in summary.contestants:
        mark = " (control)" if each.arch == summary.control else ""
        numbers = [_text(each.taught), _text(each.alone), _text(each.gain, "+")]
        if each.reason:
            numbers[0 if summary.teacher else 1] = "diverged"
        latency = [number(each.latency_ms)] * timed
        size = (f"{each.params:,}", f"{each.flops:,}", *latency, f"{each.seconds:.0f}")
        rows.append([f"{each.arch}{mark}", str(each.rung), *numbers, *size])
    return title, [*columns, "s a training"], rows


def show_sweep(runs: Mapping[str, RaceSummary]) -> None:
    """The winner of each race of a sweep; ``ahead`` is by how much it beats the control."""
    table = Table("run", "winner", title=f"Winners of {len(runs)} races", title_justify="left")
    for column in ("taught", "alone", "gain", "ahead", "params", "MACs"):
        table.add_column(column, justify="right")
    for name, each in runs.items():
        best = each.contestants[0]
        figures = _text(best.taught), _text(best.alone), _text(best.gain, "+")
        size = f"{best.params:,}", f"{best.flops:,}"
        table.add_row(name, best.arch, *figures, _text(each.margin, "+"), *size)
    print_table(table)


def verdicts(summary: RaceSummary) -> Iterator[str]:
    """What the figures show of the winner, beside the control and itself alone; who diverged."""
    best = summary.contestants[0]
    if summary.margin is not None:
        told = ("not shown apart from", "ahead of", "behind")[side(summary.margin)]
        yield f"{best.arch} is {told} the control {summary.control}{_points(summary.margin)}"
    elif summary.control == best.arch:
        yield f"The control itself won: {best.arch}"
    if best.gain is not None:
        told = ("is not shown to change", "raises", "lowers")[side(best.gain)]
        yield f"Distillation {told} the accuracy of {best.arch}{_points(best.gain)}"
    yield from (f"{e.arch} diverged: {e.reason}" for e in summary.contestants if e.reason)


def _points(difference: Estimate) -> str:
    return f" ({_text(difference, '+')} points, {counted(difference.seeds, 'seed')})"


def _text(value: Estimate | None, sign: str = "") -> str:
    if value is None:
        return "—"
    half = "" if value.half is None else f" ± {value.half:.2f}"
    return f"{value.mean:{sign}.2f}{half}".replace("-", "−")
