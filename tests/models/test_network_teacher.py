"""Every teacher of the config group, found by listing it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.teacher import build_teacher

FOLDER = Path(__file__).parents[2] / "conf" / "teacher"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if "network:" in path.read_text())


def read(path: Path) -> DictConfig:
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_teacher_builds_and_shows_its_inside(path: Path) -> None:
    spec = read(path)
    teacher = build_teacher(spec, num_classes=5, in_channels=3).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs = teacher.outputs(images)
        logits = teacher(images)
        classified = teacher.classifier(outputs.embedding)
    assert path.read_text().startswith("# ")
    assert spec.name.startswith(path.stem)
    assert spec.weights == "none"
    assert isinstance(teacher, Network)
    assert torch.equal(outputs.logits, logits)
    assert logits.shape == (2, 5)
    assert all(stage.ndim == 4 for stage in outputs.stages)
    for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
        assert torch.equal(before.relu(), after)
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
    torch.testing.assert_close(classified, logits)


def test_teachers_of_the_paper_are_there() -> None:
    assert {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet32x4"} <= {
        path.stem for path in FILES
    }


def test_plain_mappings_and_grey_images() -> None:
    spec = OmegaConf.to_container(read(FOLDER / "resnet8.yaml"))
    assert isinstance(spec, dict)
    teacher = build_teacher(spec, num_classes=3, in_channels=1)  # type: ignore[arg-type]
    assert teacher(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_wrong_settings_are_user_errors() -> None:
    spec = read(FOLDER / "resnet8.yaml")
    with pytest.raises(UserError, match="allowed are A and B"):
        build_teacher(OmegaConf.merge(spec, {"network": {"shortcut": "C"}}), 10, 3)
    with pytest.raises(UserError, match=r"teacher.weights: there is no file /absent.pt"):
        build_teacher(OmegaConf.merge(spec, {"weights": "/absent.pt"}), 10, 3)
