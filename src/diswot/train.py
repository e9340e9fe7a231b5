"""Train a student, with a teacher or alone: ``python -m diswot.train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.commands import Command, Launch, Session, run_app, settled
from diswot.errors import UserError
from diswot.runs import EpochRecord, TrainSummary

if TYPE_CHECKING:
    from diswot.loggers import Loggers
    from diswot.runs import RunDir

__all__ = ["main", "run_train"]

_COMMAND = Command(
    "train",
    "training",
    EpochRecord,
    TrainSummary,
    axis="epoch",
    kept="finished epochs are kept",
    nothing="no epoch was finished",
)


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
    """Train, or go on with a training, in a run directory.

    Args:
        config: Resolved config of ``conf/train.yaml``.
        path: The run directory.
        folders: Of configs, where the space of a searched student is looked up.
        quiet: Show nothing.
        group: Of runs that belong together, for loggers.

    Returns:
        Its ``result.json``.

    Raises:
        UserError: Wrong input, or training failed.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.checkpoint import resolve_student
    from diswot.checks import choice
    from diswot.config import finite
    from diswot.models.weights import identified
    from diswot.reporting.train import show_result
    from diswot.scoring.runtime import PRECISIONS

    config = resolve_student(settled(config, "student", "teacher", "data", "trainer"), folders)
    choice("precision", config["precision"], PRECISIONS)
    if (config["device"], config["precision"]) == ("cpu", "16-mixed"):
        raise UserError("precision=16-mixed: a CPU has 32-true and bf16-mixed")
    finite(config)
    config["teacher"] = identified(config["teacher"]) if config["distiller"] else config["teacher"]
    session = Session(_COMMAND, config, path, quiet=quiet, group=group)
    return session.result(
        lambda session: _train(config, session.run_dir, session.loggers, quiet), show_result
    )


def _train(
    config: dict[str, Any], run_dir: RunDir[EpochRecord], loggers: Loggers, quiet: bool
) -> TrainSummary:
    from diswot.reporting.train import TrainProgress, export, show_plan
    from diswot.training.follow import EpochLog
    from diswot.training.run import fit
    from diswot.training.setup import TrainingSetup

    setup = TrainingSetup.from_config(config, quiet=quiet)
    if not quiet:
        show_plan(config, setup, run_dir.path)
    loggers.start()
    run_dir.begin()
    log = EpochLog(loggers, run_dir.path, setup)
    epochs = fit(config, setup, run_dir, [] if quiet else [TrainProgress()], log)
    result = export(config, setup, run_dir, epochs)
    log.finish(asdict(result))
    return result


if __name__ == "__main__":
    sys.exit(main())
