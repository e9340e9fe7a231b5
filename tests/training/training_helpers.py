"""Small trainings, and what is left of them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diswot.checkpoint import resolve_student
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.models.resnet import CifarResNet
from diswot.scoring.runtime import resolve_device
from diswot.train import run_train
from diswot.training.setup import TrainingSetup

Json = dict[str, Any]

SMALL = [
    *("data=gaussian", "data.length=96", "data.batch_size=32", "data.image_size=8"),
    *("student=resnet8", "student.network.widths=[8,8,16,16]", "protocol.max_epochs=3"),
    *("teacher=resnet8", "teacher.network.widths=[8,8,16,16]", "device=cpu"),
]
"""Three epochs of three steps, within a second; ``teacher.weights`` is left open.

All widths of networks that tests train are 8 or more: in channels_last, without AVX-512, oneDNN
writes past its workspace in the backward pass of a 1x1 convolution of stride 2 with fewer channels.
"""


def teacher_file(path: Path, classes: int = 10) -> Path:
    """Weights for the teacher of `SMALL`."""
    torch.manual_seed(3)
    torch.save(CifarResNet([1, 1, 1], [8, 8, 16, 16], num_classes=classes).state_dict(), path)
    return path


def composed(weights: Path, *overrides: str) -> Json:
    """The config of a small training, resolved as ``run_train`` does."""
    config = compose("train", [*SMALL, f"teacher.weights='{weights}'", *overrides], None)
    config = resolve_student(config, [conf_dir()])
    return {**config, "device": resolve_device(config["device"])}


def prepared(weights: Path, *overrides: str) -> TrainingSetup:
    """What is trained."""
    return TrainingSetup.from_config(composed(weights, *overrides))


def trained(path: Path, weights: Path, *overrides: str) -> Json:
    """Train, or go on with it; gives the result."""
    return asdict(run_train(composed(weights, *overrides), path, [conf_dir()], quiet=True))


def epochs(path: Path) -> list[Json]:
    """The journal, without times."""
    lines = (path / "epochs.jsonl").read_text().splitlines()
    times = ("seconds", "images_per_second", "crc32")
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in lines]


def left(path: Path) -> tuple[list[Json], bytes, bytes, Json]:
    """Journal, last and best weights, and result, without times."""
    result = json.loads((path / "result.json").read_text())
    kept = {k: v for k, v in result.items() if k not in ("seconds", "images_per_second")}
    weights = [(path / f"{name}.safetensors").read_bytes() for name in ("student", "best")]
    return epochs(path), weights[0], weights[1], kept
