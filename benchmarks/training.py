"""What makes distillation fast: three ways to train, as ratios within one run.

Usage: python benchmarks/training.py [--threads N] [--rounds N] [--batches N] [--device cpu|cuda]
       [--distillers all|NAME,NAME] [--csv FILE]

A ResNet-20 learns from a ResNet-56 by kd, 64 images of 32 x 32 a step: in a plain loop (default
memory layout, the teacher as it was trained), as ``diswot train`` does it, and with stored logits
of the teacher. The last two go through Lightning, so what it costs counts; loading counts for all.
The ways take turns and medians over the rounds are compared, since machines are noisy. With
``--distillers`` they are those distillers instead, each compared with kd in time and in what one
step keeps for its backward pass; ``--csv`` stores them, as experiments/distillers/steps.csv is.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch.nn import functional as F

from diswot import _torchvision
from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.data.base import ResidentImages
from diswot.data.training import Batches
from diswot.training.processes import quiet
from diswot.training.setup import TrainingSetup

_torchvision.ensure()

from lightning import Callback, Trainer  # noqa: E402  (imports torchvision)

BATCH = 64
PLAIN, OURS, STORED = "plain loop", "diswot train", "with stored logits"

Spent = tuple[float, float]
"""Seconds, and CPU seconds of this process."""


def clock() -> Spent:
    """Now."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def since(started: Spent) -> Spent:
    """What was spent."""
    now = clock()
    return now[0] - started[0], now[1] - started[1]


def settings(folder: Path, device: str, *overrides: str, images: int = 1024) -> dict[str, Any]:
    """The config of a run whose teacher has random weights, which cost what trained ones cost."""
    weights = folder / "teacher.safetensors"
    arrays = folder / "noise.npz"
    chosen = ["student=resnet20", "teacher=resnet56", f"data.batch_size={BATCH}"]
    chosen += ["data=npz", f"data.path={arrays}"]
    kept = [f"teacher.weights={weights}", f"protocol.teacher_cache.dir={folder}"]
    config = {**compose("train", [*chosen, *kept, *overrides], None), "device": device}
    if not arrays.exists():
        pixels = np.random.default_rng(0).integers(256, size=(images, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(images) % 10
        np.savez(arrays, x_train=pixels, y_train=labels, x_test=pixels[:64], y_test=labels[:64])
        spec = {**config["teacher"], "weights": "none"}
        save_file(build_network(spec, "teacher", 10, 3).state_dict(), weights)
    return config


class Clock(Callback):
    """Times the batches of an epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start."""
        self.started = clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop."""
        self.spent = since(self.started)


@dataclass
class Lightning:
    """An epoch of some batches as ``diswot train`` runs it."""

    config: dict[str, Any]
    batches: int

    def __post_init__(self) -> None:
        """Build it, and compute the logits if they are to be stored."""
        self.setup = TrainingSetup.from_config(self.config, quiet=True)

    def kept(self) -> float:
        """Megabytes of the different tensors that one step keeps for its backward pass."""
        module, sizes = self.setup.module.train(), dict[int, int]()

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        images, labels, indices = self.setup.batches.training[0, 0]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            seen = module.student.outputs(images)  # type: ignore[operator]
            if module.distillers:
                module._distill(images, indices, seen, labels, epoch=0, seed=0)
        return sum(sizes.values()) / 2**20

    def __call__(self) -> Spent:
        """Train."""
        watch = Clock()
        with quiet():
            trainer = Trainer(
                accelerator=self.config["device"],
                precision=self.config["precision"],
                deterministic="warn" if self.config["device"] == "cuda" else None,
                devices=1,
                max_epochs=1,
                limit_train_batches=self.batches,
                limit_val_batches=0,
                callbacks=[watch],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            trainer.fit(self.setup.module, self.setup.batches)
        return watch.spent


@dataclass
class Plain:
    """The loop that one writes first."""

    config: dict[str, Any]
    batches: int

    def __post_init__(self) -> None:
        """Build the networks, the optimiser and the data."""
        device = self.config["device"]
        setup = TrainingSetup.from_config(self.config)
        nodes = self.config["student"], self.config["teacher"]
        self.student, self.teacher = (build_network(n, "student", 10, 3).to(device) for n in nodes)
        self.teacher.eval().requires_grad_(False)
        self.optimizer = setup.protocol.optimizer(self.student.parameters())
        self.source = setup.batches.training

    def __call__(self) -> Spent:
        """Train."""
        self.student.train()
        started = clock()
        for number in range(self.batches):
            images, labels, _ = self.source[0, number]
            self.step(images.contiguous().to(self.config["device"]), labels)
        return since(started)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One step of kd with T = 4."""
        labels = labels.to(images.device)
        with torch.no_grad():
            told = self.teacher(images)
        said = self.student(images)
        soft = F.kl_div(
            F.log_softmax(said / 4, dim=1), F.softmax(told / 4, dim=1), reduction="batchmean"
        )
        loss = 0.1 * F.cross_entropy(said, labels) + 0.9 * 16 * soft
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()


def medians(ways: dict[str, Callable[[], Spent]], rounds: int) -> dict[str, Spent]:
    """Run the ways in turn; what each spends."""
    for run in ways.values():
        run()
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            spent[name].append(run())
    return {
        n: (median(s[0] for s in found), median(s[1] for s in found)) for n, found in spent.items()
    }


def shown(spent: dict[str, Spent], images: int, kept: dict[str, float] | None = None) -> Table:
    """What the ways spend, as ratios to the first one; ``kept`` are megabytes by name."""
    table = Table("way", "images/s", "ratio", "ratio of CPU seconds", *["MB"] * bool(kept))
    first = next(iter(spent.values()))
    for name, each in spent.items():
        ratios = (f"{kd / own:.2f}" for kd, own in zip(first, each, strict=True))
        size = [f"{kept[name]:.1f}"] if kept else []
        table.add_row(name, f"{images / each[0]:,.1f}", *ratios, *size)
    return table


def of_distillers(folder: Path, args: argparse.Namespace) -> Table:
    """Each distiller compared with kd."""
    known = sorted(file.stem for file in (conf_dir() / "distiller").glob("*.yaml"))
    names = known if args.distillers == "all" else args.distillers.split(",")
    made: dict[str, Lightning] = {}
    for name in dict.fromkeys(["kd", *names]):
        words = ["distiller.crd.negatives=512"] * (name == "crd")
        config = settings(folder, args.device, f"distiller={name}", *words)
        made[name] = Lightning(config, args.batches)
    kept = {name: each.kept() for name, each in made.items()}
    spent = medians(dict(made), args.rounds)
    if args.csv:
        rows = [
            [n, round(cpu / spent["kd"][1], 3), round(kept[n], 2)] for n, (_, cpu) in spent.items()
        ]
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            columns = ["distiller", "cpu_over_kd", "kept_mb"]
            csv.writer(file, lineterminator="\n").writerows([columns, *sorted(rows)])
    return shown(spent, args.batches * BATCH, kept)


def making(training: Batches) -> str:
    """CPU milliseconds for a batch of views, whose bits are equal whichever way they are made."""
    _, _, indices = training[0, 0]
    resident = replace(training, images=ResidentImages(training.images, torch.device("cpu")))
    ways = {
        "at once": lambda: training.view(indices, 0)[0],
        "at once of resident images": lambda: resident.view(indices, 0)[0],
        "image by image": lambda: torch.cat([training.view(i[None], 0)[0] for i in indices]),
    }
    first, spent = ways["at once"](), []
    for name, way in ways.items():
        assert torch.equal(way(), first)
        started = time.process_time()
        for _ in range(50):
            way()
        spent.append(f"{name} {20 * (time.process_time() - started):.2f} ms")
    return f"{len(indices)} views: {', '.join(spent)} of CPU, equal bits"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--distillers", default="")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        if args.distillers:
            table = of_distillers(folder, args)
            Console().print(f"{args.device}, {args.rounds} rounds", table)
            return
        live = settings(folder, args.device)
        stored = settings(folder, args.device, "protocol.teacher_cache.views=1")
        ways = {
            PLAIN: Plain(live, args.batches),
            OURS: Lightning(live, args.batches),
            STORED: Lightning(stored, args.batches),
        }
        print(making(TrainingSetup.from_config(live).batches.training))
        table = shown(medians(ways, args.rounds), args.batches * BATCH)
    Console().print(
        f"{args.device}, {torch.get_num_threads()} threads, {args.rounds} rounds", table
    )


if __name__ == "__main__":
    main()
