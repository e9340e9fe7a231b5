"""Fits a student, or goes on with it, and says what came of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from diswot import _torchvision
from diswot.data.training import Batch
from diswot.runs import EpochRecord, RunDir
from diswot.training.failures import explained
from diswot.training.follow import EpochLog
from diswot.training.keeper import AtomicCheckpoints, Keeper
from diswot.training.processes import Processes, quiet
from diswot.training.resume import finished_epochs
from diswot.training.setup import TrainingSetup

_torchvision.ensure()

from lightning import Callback, Trainer  # noqa: E402  (imports torchvision)
from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # noqa: E402

if TYPE_CHECKING:
    from lightning.pytorch.strategies import Strategy

__all__ = ["accuracy", "fit"]


def fit(
    config: Mapping[str, Any],
    setup: TrainingSetup,
    run_dir: RunDir[EpochRecord],
    callbacks: list[Callback],
    log: EpochLog | None = None,
) -> list[EpochRecord]:
    """Train until the protocol's last epoch, from the last finished one on.

    Args:
        config: Of the run.
        setup: What is trained; its module holds the last epoch's weights afterwards.
        run_dir: Open; its journal gets the epochs.
        callbacks: Further ones, for people to see.
        log: Called with every epoch that is kept.

    Returns:
        All epochs, those of earlier starts too.

    Raises:
        UserError: The loss is not finite, memory is out, a worker was killed.
        OSError: The disk is full.
    """
    batches = setup.batches
    count, devices = batches.training.count, setup.protocol.devices
    keeper = Keeper(run_dir.path, (count - count % devices) * setup.data.batch_size)
    resumed = finished_epochs(run_dir, keeper.checkpoint, setup.module)
    told = run_dir.path, setup.data.batch_size, setup.data.num_workers
    with quiet(), explained(*told), _following(log) as followers:
        trainer = Trainer(
            accelerator=config["device"],
            devices=devices,
            strategy=_strategy(config, devices, told),
            precision=config["precision"],
            max_epochs=setup.protocol.max_epochs,
            callbacks=[*callbacks, *followers, keeper],
            # Not the environment of a cluster, whose launcher had to start every process.
            plugins=[AtomicCheckpoints(), LightningEnvironment()],
            gradient_clip_val=setup.protocol.gradient_clip or None,
            deterministic="warn" if config["device"] == "cuda" else None,
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        checkpoint = str(keeper.checkpoint) if resumed else None
        with _interruptible():
            trainer.fit(setup.module, batches, ckpt_path=checkpoint, weights_only=True)
    return [record for record, _ in run_dir.journal.read()]


def _following(log: EpochLog | None) -> AbstractContextManager[list[Callback]]:
    return nullcontext([]) if log is None else log.following()


def _strategy(
    config: Mapping[str, Any], devices: int, told: tuple[Path, int, int]
) -> str | Strategy:
    if devices == 1:
        return "auto"
    return Processes("nccl" if config["device"] == "cuda" else "gloo", told)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit and stops listening to it: undo both."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@torch.no_grad()
def accuracy(network: nn.Module, loader: DataLoader[Batch], device: str) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent.

    Args:
        network: Gives logits; its mode is kept.
        loader: Of batches.
        device: To run on.
    """
    training = network.training
    network.to(device).eval()
    right, count = torch.zeros(2, dtype=torch.int64), 0
    for images, labels, _ in loader:
        logits = network(images.to(device, memory_format=torch.channels_last)).cpu()
        likeliest = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        right += torch.stack([likeliest[:, 0].sum(), likeliest.sum()])
        count += len(labels)
    network.train(training)
    top1, top5 = (100 * right / count).tolist()
    return {"top1": top1, "top5": top5}
