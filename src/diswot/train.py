"""Train a student, with a teacher or alone: ``python -m diswot.train``."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diswot.commands import Command, Launch, Session, run_app, settled
from diswot.errors import UserError
from diswot.runs import EpochRecord, RunDir, TrainSummary

_COMMAND = Command(
    "train",
    "training",
    EpochRecord,
    TrainSummary,
    axis="epoch",
    kept="finished epochs are kept",
    nothing="no epoch was finished",
)

_NO_TEACHER = {"name": "none", "weights": "none"}  # as conf/teacher/none.yaml


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("train", job, argv)


def job(launch: Launch) -> float:
    """One training; gives its accuracy, for Hydra's optimising sweepers.

    That is the best on the validation images; on the test images where there are no others.
    """
    summary = run_train(launch.config, launch.path, launch.folders, group=launch.sweep)
    validated = summary.validated_on != "test"
    return float(summary.best_val_top1 if validated else summary.test_top1)


def run_train(
    config: dict[str, Any],
    path: Path,
    folders: Sequence[Path],
    *,
    quiet: bool = False,
    group: str | None = None,
) -> TrainSummary:
    """Train, or go on with a training, in a run directory; gives its ``result.json``.

    The config is that of ``conf/train.yaml``, resolved; in the folders of configs the space of a
    searched student is looked up. ``group`` is of runs that belong together, for loggers. Errors
    are those of `diswot.commands.Session.result`, a `UserError` too where the training failed.
    """
    config = prepared(config, folders)

    from diswot.reporting.train import show_result  # imports Lightning, once the settings are right

    session = Session(_COMMAND, config, path, quiet=quiet, group=group)
    return session.result(_train, show_result, opens=True)


def prepared(config: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The settled config of a training, see `run_train`; UserError for settings that are wrong."""
    from diswot.checkpoint import resolve_student
    from diswot.checks import choice
    from diswot.config import finite
    from diswot.distillers import needing_teacher
    from diswot.models.weights import identified
    from diswot.scoring.runtime import PRECISIONS

    groups = ("student", "teacher", "data", "protocol", "trainer")
    config = resolve_student(settled(config, *groups), folders)
    choice("precision", config["precision"], PRECISIONS)
    if (config["device"], config["precision"]) == ("cpu", "16-mixed"):
        raise UserError("precision=16-mixed: a CPU has 32-true and bf16-mixed")
    finite(config)
    if config["distiller"]:
        taught = needing_teacher(config["distiller"])
        config["teacher"] = identified(config["teacher"]) if taught else _NO_TEACHER
    return config


def _train(session: Session[EpochRecord, TrainSummary]) -> TrainSummary:
    """Train in this process, or in several that are started here."""
    from diswot.training.processes import environment, is_first, start, world_size

    trainer = session.config["trainer"]
    given = session.config, session.path, session.quiet, session.group
    if (cluster := environment(trainer)) is not None:
        _train_process(*given)
        session.quiet |= not is_first(cluster)
    else:
        try:
            start(world_size(trainer), _train_process, *given)
        except Exception:
            with RunDir(session.path, session.config, EpochRecord):  # which keeps why it ended
                raise
    summary = session.run_dir.load_result(TrainSummary)
    if summary is None:  # its processes were stopped
        raise KeyboardInterrupt
    return summary


def _train_process(config: dict[str, Any], path: Path, quiet: bool, group: str | None) -> None:
    """The work of each process of a training; the first one alone writes and shows."""
    from diswot.models.outputs import count_flops, count_params
    from diswot.models.parametrized import plain
    from diswot.reporting.train import export, show_plan
    from diswot.training.callbacks import EpochLog
    from diswot.training.processes import environment, is_first
    from diswot.training.run import (
        finished_epochs,
        fit,
        make_trainer,
        teacher_top1,
        wait_for_others,
    )
    from diswot.training.setup import TrainingSetup

    cluster = environment(config["trainer"])
    assert cluster is not None
    checkpoint = path / "last.ckpt"
    if not is_first(cluster):
        setup = TrainingSetup.from_config(config, quiet=True)
        trainer = make_trainer(config, setup, path, cluster, show=False)
        fit(trainer, setup, path, int(checkpoint.exists()))
        wait_for_others(trainer, setup, path)
        return
    session = Session(_COMMAND, config, path, quiet=quiet, group=group)
    with session.opened():
        setup = TrainingSetup.from_config(config, quiet=quiet)
        log = []
        if session.loggers:
            student, image = plain(setup.module.student), setup.data.image_shape
            size = {"params": count_params(student), "flops": count_flops(student, image)}
            log.append(EpochLog(session.loggers.log, session.run_dir.journal, size))
        trainer = make_trainer(config, setup, path, cluster, log, show=not quiet)
        own = teacher_top1(config, setup, session.run_dir)
        session.show(show_plan, config, setup, path, own)
        session.loggers.start()
        session.run_dir.begin()
        if own is not None:
            session.run_dir.save_state({"schema": 1, "teacher_top1": own})
        trainer.loggers = session.loggers.lightning
        fit(trainer, setup, path, finished_epochs(session.run_dir, checkpoint, setup))
        epochs = [record for record, _ in session.run_dir.journal.read()]
        summary = export(config, setup, session.run_dir, epochs, own)
        session.loggers.finished(asdict(summary), [*path.glob("curves.png")])
    wait_for_others(trainer, setup, path)


if __name__ == "__main__":
    sys.exit(main())
