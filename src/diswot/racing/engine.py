"""A race in its run directory: trainings, the journal, the winner's weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diswot.checkpoint import DESCRIPTION_FILE, build_student
from diswot.config import make
from diswot.data.base import ImageData
from diswot.data.training import TrainingData
from diswot.errors import DivergedError
from diswot.models.outputs import count_flops, count_params
from diswot.models.weights import WEIGHTS_FILE, untrained_classifier
from diswot.racing.halving import Plan, Trial, decided
from diswot.racing.setup import training_config
from diswot.runs import RaceRecord, TrainSummary, read_epochs, write_atomic
from diswot.teaching import build_teacher, check_known, doubt, of_teacher

if TYPE_CHECKING:
    from diswot.racing.processes import Calls
    from diswot.runs import RunDir


Train = Callable[..., TrainSummary]
"""``diswot.train.run_train``."""

OnTraining = Callable[[RaceRecord, int], object]
"""Called with one more record, and how many there are now."""


class Race:
    """One race in its run directory, which is open and locked.

    A line of the journal is a training that has finished, in the order of the plan. One that was
    stopped goes on in its own run directory, below ``trainings``, to the same bits.

    Attributes:
        records: All that is known, in the order of the journal.
    """

    def __init__(
        self,
        run_dir: RunDir[RaceRecord],
        config: Mapping[str, Any],
        plan: Plan,
        train: Train,
        folders: Sequence[Path],
    ) -> None:
        self.run_dir, self.config, self.plan = run_dir, config, plan
        self._train, self._folders = train, folders
        self.records = [record for record, _ in run_dir.journal.read()]

    def run(self, calls: Calls, progress: OnTraining) -> str:
        """Race; gives the winner, whose weights are then in the run directory."""
        self.run_dir.begin()
        for record in self.records:
            self._check_teacher(record)

        def measure(trials: Sequence[Trial]) -> list[RaceRecord]:
            known = {_trial(record): record for record in self.records}
            missing = [trial for trial in trials if trial not in known]
            work: list[Callable[[], RaceRecord]] = [self._call(trial) for trial in missing]
            if self.plan.taught and not any(record.rung == 0 for record in self.records):
                work.insert(0, partial(teacher_record, self.config))
            for record in calls(work):
                self.run_dir.journal.append(record)
                self.records.append(record)
                known[_trial(record)] = record
                progress(record, len(self.records))
                self._check_teacher(record)
            return [known[trial] for trial in trials]

        winner = decided(self.plan, measure)
        own = self.of(winner, taught=self.plan.taught)
        trial = _trial(max(own, key=lambda record: record.val_top1 or 0.0))
        list(calls([self._call(trial)]))  # at once, but where its folder was removed
        for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
            write_atomic(self.run_dir.path / name, (self._folder(trial) / name).read_bytes())
        return winner

    def of(self, arch: str, *, taught: bool) -> list[RaceRecord]:
        """The records of an architecture on the last rung it reached, by seed."""
        own = [r for r in self.records if r.arch == arch and r.rung and r.taught == taught]
        rung = max((record.rung for record in own), default=0)
        return sorted((r for r in own if r.rung == rung), key=lambda record: record.seed)

    def _check_teacher(self, record: RaceRecord) -> None:
        if not record.rung:
            check_known(record.reason, strict=self.config["strict"])

    def _call(self, trial: Trial) -> Callable[[], RaceRecord]:
        given = (training_config(self.config, trial), self._folder(trial), self._folders)
        return partial(training_record, self._train, trial, *given)

    def _folder(self, trial: Trial) -> Path:
        number = 1 + [*self.plan.archs, self.plan.control].index(trial.arch)
        how = "taught" if trial.taught else "alone"
        return self.run_dir.path / "trainings" / f"{trial.rung}-{number}-{how}-{trial.seed}"


def _trial(record: RaceRecord) -> Trial:
    return Trial(record.arch, record.rung, record.epochs, record.seed, record.taught)


def training_record(
    train: Train, trial: Trial, config: dict[str, Any], path: Path, folders: Sequence[Path]
) -> RaceRecord:
    """Train, or go on with it, and give its line of the race's journal.

    Of what training left, its weights and figures stay, and what one that diverged tells of it.
    """
    started = time.monotonic()
    try:
        summary = train(config, path, folders, quiet=True)
    except DivergedError as error:
        params, flops = _size(config)
        return RaceRecord(
            **asdict(trial),
            val_top1=None,
            test_top1=None,
            params=params,
            flops=flops,
            seconds=round(time.monotonic() - started, 3),
            reason=str(error),
        )
    (path / "last.ckpt").unlink(missing_ok=True)
    return RaceRecord(
        **asdict(trial),
        val_top1=read_epochs(path)[-1].val_top1,
        test_top1=summary.test_top1,
        params=summary.params,
        flops=summary.flops,
        seconds=summary.seconds,
    )


def _size(config: Mapping[str, Any]) -> tuple[int, int]:
    data = make(config["data"], "data", ImageData)
    with torch.device("meta"):
        sizes = data.num_classes, data.in_channels, data.image_size
        network = build_student(config["student"], config["space"], *sizes)
    return count_params(network), count_flops(network, data.image_shape)


def teacher_record(config: Mapping[str, Any]) -> RaceRecord:
    """Measure the teacher on the test images, where its weights give it a classifier.

    The ``reason`` says why it is doubted.
    """
    data = make(config["data"], "data", ImageData)
    spec = config["teacher"]
    network = build_teacher(spec, data)
    own = None
    if not untrained_classifier(network):
        loader, count = TrainingData(data).test_dataloader(), len(data.test_dataset())
        own = of_teacher(network, str(spec["weights"]), loader, config["device"], count)
    return RaceRecord(
        arch=spec["name"],
        rung=0,
        epochs=0,
        seed=config["seed"],
        taught=False,
        val_top1=None,
        test_top1=own.top1 if own else None,
        params=count_params(network),
        flops=count_flops(network, data.image_shape),
        seconds=0.0,
        reason=doubt(spec["name"], own),
    )
