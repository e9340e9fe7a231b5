"""Config files of networks, run directories of trainings and searches."""

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from diswot.checkpoint import build_student, describe_student, resolve_student, save_student
from diswot.config import conf_dir, member_node

Json = dict[str, Any]

CONF = conf_dir()
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
    **{"score": 1.0, "flops": 1, "seconds": 1.0, "candidates_per_second": 1.0, "seed": 0},
    **{"evaluated": 1, "distinct": 1, "rejected": 0, "exhausted": True, "top": []},
    **{"teacher": None, "proxy": "params", "strategy": "random", "data": "fashion_mini"},
}


def files(group: str) -> list[Path]:
    """The config files of a group that describe a network."""
    return [f for f in sorted((CONF / group).glob("*.yaml")) if "network:" in f.read_text()]


def read(file: Path) -> Json:
    """A config file as plain values."""
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def of_space(arch: str = "s0:1-1-1") -> Json:
    """The config of an architecture of S0."""
    spec = {"name": "arch", "arch": arch, "weights": "none"}
    return {"student": spec, "space": member_node("space", "s0", [CONF])}


def searched(run: Path, **changes: Any) -> Path:
    """The run directory of a search that scored networks for grey images."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "result.json").write_text(json.dumps({**RESULT, **changes}))
    return run


def trained(run: Path, config: Json | None = None) -> nn.Module:
    """The run directory of a training of 5 classes on grey images of 8 x 8; gives the student."""
    run.mkdir(parents=True, exist_ok=True)
    config = resolve_student(config or {"student": TINY, "space": None}, [CONF])
    student = build_student(config["student"], config["space"], 5, 1)
    student.train()
    with torch.no_grad():
        student(torch.randn(16, 1, 8, 8))
    sizes = {"num_classes": 5, "in_channels": 1, "image_size": 8}
    save_student(student, run, describe_student(config, **sizes, mean=[0.3], std=[0.4]))
    return student.eval()
