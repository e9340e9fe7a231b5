"""Distil the best candidates of a search briefly, and find the one to train: ``diswot race``."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diswot.commands import Command, Launch, Session, quote, run_app, settled
from diswot.runs import RaceRecord, RaceSummary, SearchSummary, read_summary
from diswot.runs.races import side

_COMMAND = Command(
    "race",
    "race",
    RaceRecord,
    RaceSummary,
    axis="trained",
    kept="what was trained is kept",
    nothing="nothing was trained yet",
)

_OF_TEACHING = (
    *("teacher.name=", "teacher.network.", "teacher.members", "teacher.weighting", "distiller."),
)
"""Beginnings of the words that a training needs as the race did."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("race", job, argv, swept=_show_sweep, first="run")


def job(launch: Launch) -> float:
    """One race; gives the winner's accuracy on validation, for Hydra's optimising sweepers."""
    from diswot.console import print_lines

    summary = run_race(launch.config, launch.path, launch.folders, group=launch.sweep)
    if launch.sweep is None:
        print_lines(map(": ".join, _next_commands(launch, summary).items()))
    return float(summary.contestants[0].val_top1 or 0.0)


def run_race(
    config: dict[str, Any],
    path: Path,
    folders: Sequence[Path],
    *,
    found: SearchSummary | None = None,
    quiet: bool = False,
    group: str | None = None,
) -> RaceSummary:
    """Race, or go on with a race, in a run directory; gives its ``result.json``.

    The config is that of ``conf/race.yaml``, resolved; in the folders of configs what a search
    names is looked up. ``found`` is a search in place of the run directory of one. ``group`` is of
    runs that belong together, for loggers.

    Raises:
        UserError: Wrong input, or a training failed.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.config import finite
    from diswot.fingerprints import identified
    from diswot.racing.setup import plan_of, resolve_race

    config = resolve_race(settled(config, "data", "protocol", "trainer"), folders, found)
    config = identified(config)
    finite(config)
    seeds = len(plan_of(config).seeds)

    from diswot.reporting.race import show_result  # imports Lightning, once the settings are right

    session = Session(_COMMAND, config, path, quiet=quiet, group=group)
    return session.result(
        lambda own: _race(own, folders, found),
        show_result,
        finished=lambda done: done.seeds >= seeds,
    )


def _race(
    session: Session[RaceRecord, RaceSummary], folders: Sequence[Path], found: SearchSummary | None
) -> RaceSummary:
    from pandas import DataFrame

    from diswot.racing.engine import Race
    from diswot.racing.processes import calling
    from diswot.racing.setup import plan_of, training_config
    from diswot.reporting.race import contestant_table, export, show_plan, show_training
    from diswot.scoring.setup import worker_count
    from diswot.train import prepared, run_train
    from diswot.training.protocol import Protocol
    from diswot.training.setup import TrainingSetup

    config, plan = session.config, plan_of(session.config)
    workers = worker_count(config, on_gpu=1)
    each_rung = [plan.trials(plan.archs[:1], rung + 1)[0] for rung in range(len(plan.rungs))]
    trainings = [prepared(training_config(config, trial), folders) for trial in each_rung]
    for training in trainings:
        Protocol.from_config(training["protocol"])
    setup = TrainingSetup.from_config(trainings[0], quiet=session.quiet)
    session.show(show_plan, config, plan, setup, session.path, workers)
    session.loggers.start()

    def progress(record: RaceRecord, count: int) -> None:
        session.show(show_training, record, count)
        session.loggers.log(_metrics(record), count)

    race = Race(session.run_dir, config, plan, run_train, folders)
    with calling(workers, one_thread=config["device"] == "cpu") as calls:
        winner = race.run(calls, progress)
    summary = export(race, setup, winner, found)
    _, columns, rows = contestant_table(summary)
    table = DataFrame(rows, columns=columns)
    session.loggers.finished(asdict(summary), [], {"contestants": table})
    return summary


def _metrics(record: RaceRecord) -> dict[str, float | None]:
    """What loggers get of a training, by how the student learnt; of the teacher its accuracy."""
    if not record.rung:
        return {"teacher/test_top1": record.test_top1}
    how = "taught" if record.taught else "alone"
    accuracies = {"val_top1": record.val_top1, "test_top1": record.test_top1}
    own = {**accuracies, "rung": record.rung, "seed": record.seed, "seconds": record.seconds}
    return {f"{how}/{name}": value for name, value in own.items()}


def _show_sweep(results: Mapping[str, Path]) -> None:
    from diswot.reporting.race import show_sweep

    show_sweep({name: read_summary(file, RaceSummary) for name, file in results.items()})


def _next_commands(launch: Launch, summary: RaceSummary) -> dict[str, str]:
    """Train the winner, or the control if that is ahead: taught, or alone where that was better.

    Unless the race shows that the teacher helps both are named. Where the images are few there are
    more epochs of smaller batches than the protocol has.
    """
    from diswot.config import member_node
    from diswot.reporting.train import longer

    given, arch, gain = launch.given, summary.arch, summary.contestants[0].gain
    if summary.margin is not None and side(summary.margin) < 0:
        arch = str(summary.control)
        gain = next(each.gain for each in summary.contestants if each.arch == arch)
    student = ["student=arch", f"space={summary.space}", f"student.arch={quote(arch)}"]
    data = [f"data={launch.choices['data']}"] if launch.choices["data"] != "fashion_mini" else []
    data += [word for word in given("space.", "data.") if "data.batch_size=" not in word]
    ways = {"alone": ["teacher=none", "distiller=none"]}
    if summary.teacher is not None:
        names = ",".join(summary.distiller)
        distiller = names if len(summary.distiller) == 1 else f"[{names}]"
        teacher = launch.choices.get("teacher") or summary.teacher
        ways["taught"] = [f"teacher={teacher}", f"distiller={distiller}"]
        ways["taught"].append(f"teacher.weights={quote(str(summary.teacher_weights))}")
        if summary.teacher_input:
            own = re.sub(r'[" ]', "", json.dumps(summary.teacher_input))
            ways["taught"].append(f"teacher.input={own}")
        ways["taught"] += given(*_OF_TEACHING)
    shown = 0 if gain is None else side(gain)
    order = ["alone", "taught"] if shown < 0 else ["taught"] if shown > 0 else ["taught", "alone"]
    known = [ways[way] for way in order if way in ways]
    epochs = member_node("protocol", "short", launch.folders)["max_epochs"]  # what train takes
    batch = member_node("data", launch.choices["data"], launch.folders)["batch_size"]
    data += longer(summary.training_images, epochs, batch)
    commands = (launch.next_command("train", [*student, *words, *data]) for words in known)
    return dict(zip(("Next", "Or"), commands, strict=False))


if __name__ == "__main__":
    sys.exit(main())
