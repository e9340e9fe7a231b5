"""A trained student on disk: bare weights, and beside them what to build."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from diswot.errors import UserError
from diswot.models._description import DESCRIPTION_FILE, read_student
from diswot.models.build import build_student
from diswot.models.weights import WEIGHTS_FILE, load_weights
from diswot.runs.files import write_atomic, write_json

__all__ = ["describe_student", "load_student", "save_student"]


def describe_student(
    config: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """What :func:`save_student` keeps beside the weights.

    Args:
        config: As :func:`~diswot.models.student.resolve_student` gives it.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        mean: Subtracted from the channels of images in [0, 1].
        std: The channels are divided by it then.
    """
    spec = config["student"]
    kept = ("name", "arch") if spec.get("arch") is not None else ("name", "network")
    return {
        "student": {key: spec[key] for key in kept},
        "space": config.get("space") if "arch" in kept else None,
        "num_classes": num_classes,
        "in_channels": in_channels,
        "image_size": image_size,
        "mean": list(map(float, mean)),
        "std": list(map(float, std)),
    }


def save_student(network: nn.Module, folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``student.safetensors``, a bare state dict, and ``student.json``, each in one step.

    Args:
        network: The student.
        folder: An existing folder.
        description: See :func:`describe_student`.

    Raises:
        OSError: The folder cannot be written.
    """
    state = network.state_dict()
    content = save(
        {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    )
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(folder / WEIGHTS_FILE, content)
    write_json(folder / DESCRIPTION_FILE, {"schema": 1, **description, "sha256": digest})


def load_student(run: str | Path, *, config_dir: str | Path | None = None) -> nn.Module:
    """Load the student that a run of ``diswot train`` has trained.

    Use::

        import diswot

        student = diswot.load_student("runs/train/x")
        logits = student(images)

    Args:
        run: The run directory.
        config_dir: The folder of further configs, where the student is of one of yours.

    Returns:
        The student on the CPU, in eval mode; it takes ``(B, in_channels, H, W)`` images, normalised
        with the ``mean`` and ``std`` of :func:`~diswot.models.student.read_student`.

    Raises:
        UserError: There is no trained student, or its files are not what training wrote.
    """
    description = read_student(run, config_dir=config_dir)
    spec = {**description["student"], "weights": "none"}
    file = Path(run).expanduser() / DESCRIPTION_FILE
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
            network = build_student(
                spec, description["space"], description["num_classes"], description["in_channels"]
            )
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    weights = str(file.with_name(WEIGHTS_FILE))
    load_weights(network, weights, name=str(spec["name"]), setting=str(file))
    return network.eval()
