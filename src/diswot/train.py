"""Train a student, with a teacher or alone: ``python -m diswot.train``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from diswot.loggers import Loggers
    from diswot.runs import EpochRecord, RunDir, TrainSummary

__all__ = ["main", "run_train"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the Hydra app.

    Args:
        argv: Overrides; by default those of the command line.

    Returns:
        Exit code.
    """
    from diswot.hydra_app import run_app

    return run_app("train", job, sys.argv[1:] if argv is None else argv)


def job(cfg: DictConfig) -> float:
    """One training; gives its accuracy, for Hydra's optimising sweepers.

    That is the best on the validation images; on the test images where there are no others.
    """
    from hydra.core.hydra_config import HydraConfig

    from diswot.hydra_app import to_plain
    from diswot.loggers import sweep_folder

    hydra = HydraConfig.get()
    folders = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
    path = Path(hydra.runtime.output_dir)
    result = run_train(to_plain(cfg), path, folders, group=sweep_folder())
    validated = result.validated_on != "test"
    return float(result.best_val_top1 if validated else result.test_top1)


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
    from diswot.checks import choice, flag
    from diswot.config import finite, require
    from diswot.console import print_lines
    from diswot.loggers import LoggedRun, Loggers
    from diswot.models.student import resolve_student
    from diswot.models.weights import identified
    from diswot.reporting.train import show_result
    from diswot.runs import EpochRecord, RunDir, TrainSummary
    from diswot.scoring.runtime import PRECISIONS, resolve_device

    require(config, "student", "teacher", "data", "trainer")
    flag("debug", config["debug"])
    config = resolve_student(config, folders)
    config["device"] = resolve_device(config["device"])
    choice("precision", config["precision"], PRECISIONS)
    if (config["device"], config["precision"]) == ("cpu", "16-mixed"):
        raise UserError("precision=16-mixed: a CPU has 32-true and bf16-mixed")
    finite(config)
    config["teacher"] = identified(config["teacher"]) if config["distiller"] else config["teacher"]
    run_dir = RunDir(path, config, EpochRecord)
    run_dir.compare_config()
    result = run_dir.load_result(TrainSummary)
    if result is None:
        try:
            run = LoggedRun("train", path, config, "epoch", group)
            with run_dir, Loggers(run, quiet=quiet) as loggers:
                result = _train(config, run_dir, loggers, quiet)
        except KeyboardInterrupt:
            kept = "finished epochs are kept" if run_dir.begun else "no epoch was finished"
            raise KeyboardInterrupt(
                f"Stopped; {kept} in {path}. The same command goes on from there."
            ) from None
    elif not quiet:
        print_lines([f"This training has finished before, in {path}."])
    if not quiet:
        show_result(result, path)
    return result


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
