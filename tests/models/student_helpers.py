"""Students as ``diswot train`` leaves them, and searches as ``diswot search`` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diswot.config import conf_dir
from diswot.models.student import build_student, describe_student, resolve_student, save_student

Json = dict[str, Any]

TINY: Json = {
    "name": "tiny",
    "weights": "none",
    "network": {
        "_target_": "diswot.models.resnet.CifarResNet",
        "depths": [1, 1, 1],
        "widths": [4, 4, 8, 8],
        "shortcut": "B",
    },
}
RESULT: Json = {
    "schema": 1,
    "space": "s0",
    "arch": "s0:1-1-3",
    "params": 225722,
    "num_classes": 10,
    "top": [{"arch": "s0:1-1-3", "params": 225722}, {"arch": "s0:1-1-1", "params": 77754}],
}


def searched(run: Path, **changes: Any) -> Path:
    """The run directory of a search that scored networks for grey images."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "result.json").write_text(json.dumps({**RESULT, **changes}))
    return run


def trained(run: Path, config: Json | None = None) -> nn.Module:
    """The run directory of a training of 5 classes on grey images of 8 x 8; gives the student."""
    run.mkdir(parents=True, exist_ok=True)
    config = resolve_student(config or {"student": TINY, "space": None}, [conf_dir()])
    student = build_student(config["student"], config["space"], 5, 1)
    student.train()
    with torch.no_grad():
        student(torch.randn(16, 1, 8, 8))
    description = describe_student(
        config, num_classes=5, in_channels=1, image_size=8, mean=[0.3], std=[0.4]
    )
    save_student(student, run, description)
    return student.eval()
