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

    from diswot.runs import TrainSummary

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
    from diswot.loggers.base import sweep_folder

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
    from diswot.models.student import resolve_student
    from diswot.models.weights import identified
    from diswot.runs import EpochRecord, RunDir, TrainSummary
    from diswot.scoring.runtime import PRECISIONS, resolve_device

    require(config, "student", "teacher", "data", "protocol", "trainer")
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
    if result is not None:
        if not quiet:
            print_lines([f"This training has finished before, in {path}."])
    else:
        try:
            _train_in_processes(config, path, quiet, group)
            result = run_dir.load_result(TrainSummary)
            if result is None:  # its processes were stopped
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            kept = "finished epochs are kept" if run_dir.begun else "no epoch was finished"
            raise KeyboardInterrupt(
                f"Stopped; {kept} in {path}. The same command goes on from there."
            ) from None
    if not quiet:
        from diswot.reporting.train import show_result

        show_result(result, path)
    return result


def _train_in_processes(config: dict[str, Any], path: Path, quiet: bool, group: str | None) -> None:
    """Train in this process, or in several that are started here."""
    from diswot.runs import EpochRecord, RunDir
    from diswot.training.processes import environment, start, world_size

    if environment(config["trainer"]) is not None:
        _train(config, path, quiet, group)
        return
    try:
        start(world_size(config["trainer"]), _train, config, path, quiet, group)
    except Exception:
        with RunDir(path, config, EpochRecord):  # which keeps why it ended
            raise


def _train(config: dict[str, Any], path: Path, quiet: bool, group: str | None) -> None:
    """What each process of a training does; the first one alone writes and shows."""
    from diswot.loggers.base import Run
    from diswot.loggers.several import Loggers
    from diswot.models.cost import count_flops, count_params
    from diswot.reporting.train import export, show_plan
    from diswot.runs import EpochRecord, RunDir
    from diswot.training.callbacks import EpochLog
    from diswot.training.processes import environment, is_first
    from diswot.training.run import finished_epochs, fit, make_trainer
    from diswot.training.setup import TrainingSetup

    cluster = environment(config["trainer"])
    assert cluster is not None
    checkpoint = path / "last.ckpt"
    if not is_first(cluster):
        setup = TrainingSetup.from_config(config, quiet=True)
        trainer = make_trainer(config, setup, path, cluster, show=False)
        fit(trainer, setup, path, int(checkpoint.exists()))
        trainer.strategy.barrier("written")
        return
    run_dir = RunDir(path, config, EpochRecord)
    with run_dir, Loggers(Run("train", path, config, "epoch", group), quiet=quiet) as loggers:
        setup = TrainingSetup.from_config(config, quiet=quiet)
        log = []
        if loggers:
            student, data = setup.module.student, setup.data
            image = (data.in_channels, data.image_size, data.image_size)
            size = {"params": count_params(student), "flops": count_flops(student, image)}
            log.append(EpochLog(loggers.log, path, size))
        trainer = make_trainer(config, setup, path, cluster, log, show=not quiet)
        if not quiet:
            show_plan(config, setup, path)
        loggers.start()
        run_dir.begin()
        trainer.loggers = list(getattr(loggers, "lightning", ()))
        fit(trainer, setup, path, finished_epochs(run_dir, checkpoint, setup))
        result = export(config, setup, run_dir, [record for record, _ in run_dir.journal.read()])
        pictures = [each for each in [path / "curves.png"] if each.exists()]
        loggers.finished(asdict(result), pictures)
    trainer.strategy.barrier("written")


if __name__ == "__main__":
    sys.exit(main())
