"""How a student is trained: the settings of ``conf/trainer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from diswot.checks import flag, number, whole
from diswot.config import make
from diswot.data.augment import Augmentation
from diswot.errors import UserError
from diswot.training.mixing import Mixing
from diswot.training.schedules import Schedule

__all__ = ["Protocol"]


_SETTINGS = (
    *("name", "max_epochs", "optimizer", "schedule", "augment", "mixup", "cutmix", "ce_weight"),
    *("label_smoothing", "ema", "gradient_clip", "validation", "compile", "devices"),
    "teacher_cache",
)


@dataclass(frozen=True)
class Protocol:
    """The settings of a training run.

    Attributes:
        name: Of the preset.
        max_epochs: Epochs in all.
        optimizer: From parameters to an optimiser.
        schedule: Learning rate over time.
        augment: Views of the training images; None: as they are.
        mixing: Mixup and CutMix.
        ce_weight: Weight of the cross-entropy; None: the distillers'.
        label_smoothing: Share of a label that is spread over all classes.
        ema: Decay of the averaged weights that are evaluated and saved; 0: no average.
        gradient_clip: Largest norm of the gradient; 0: any.
        validation: Share of the training images held out; 0: the test images validate.
        compile: Whether the student is compiled.
        devices: Processes, one a device.
        cache_views: Views of the images whose teacher logits are stored; 0: none are.
        cache_dir: Where they are.
    """

    name: str
    max_epochs: int
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    schedule: Schedule
    augment: Augmentation | None
    mixing: Mixing
    ce_weight: float | None
    label_smoothing: float
    ema: float
    gradient_clip: float
    validation: float
    compile: bool
    devices: int
    cache_views: int
    cache_dir: str

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> Protocol:
        """Check the settings and make the parts.

        Raises:
            UserError: A setting is outside what is allowed.
        """
        _check_keys("trainer", node, _SETTINGS)
        cache = node["teacher_cache"]
        _check_keys("trainer.teacher_cache", cache, ("views", "dir"))
        epochs = whole("trainer.max_epochs", node["max_epochs"], 1)
        views = whole("trainer.teacher_cache.views", cache["views"], 0)
        if views > epochs:
            raise UserError(
                f"trainer.teacher_cache.views={views}: with trainer.max_epochs={epochs} at most "
                f"{epochs} are ever shown"
            )
        return cls(
            name=str(node["name"]),
            max_epochs=epochs,
            optimizer=_optimizer(node["optimizer"]),
            schedule=_schedule(node["schedule"], epochs),
            augment=_augment(node["augment"]),
            mixing=Mixing(node["mixup"], node["cutmix"]),
            ce_weight=_or_none("trainer.ce_weight", node["ce_weight"]),
            label_smoothing=number(
                "trainer.label_smoothing", node["label_smoothing"], low=0, high=0.99
            ),
            ema=number("trainer.ema", node["ema"], low=0, high=0.999999),
            gradient_clip=number("trainer.gradient_clip", node["gradient_clip"], low=0),
            validation=number("trainer.validation", node["validation"], low=0, high=0.9),
            compile=flag("trainer.compile", node["compile"]),
            devices=whole("trainer.devices", node["devices"], 1),
            cache_views=views,
            cache_dir=str(cache["dir"]),
        )


def _check_keys(setting: str, node: object, wanted: Sequence[str]) -> None:
    if not isinstance(node, Mapping):
        raise UserError(f"{setting}={node}: give settings of {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in node]:
        raise UserError(f"{setting}.{missing[0]} is left out; conf/train.yaml says what it may be")
    if unknown := [str(name) for name in node if name not in wanted]:
        raise UserError(f"{setting}.{unknown[0]} is not a setting; allowed are {', '.join(wanted)}")


def _or_none(setting: str, value: object) -> float | None:
    return None if value is None else number(setting, value, low=0)


def _augment(node: Mapping[str, Any] | None) -> Augmentation | None:
    return None if node is None else make(node, "trainer.augment", Augmentation)  # type: ignore[type-abstract]


def _optimizer(node: Mapping[str, Any]) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    made: Any = make(node, "trainer.optimizer", object)
    if not callable(made):
        raise UserError("trainer.optimizer: give a node with _target_ and _partial_: true")
    try:
        weight = nn.Parameter(torch.zeros(2, 2))
        weight.grad = torch.zeros(2, 2)
        made([weight]).step()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"trainer.optimizer: {node['_target_']} refuses: {error}") from error
    return made  # type: ignore[no-any-return]


def _schedule(node: Mapping[str, Any], epochs: int) -> Schedule:
    made: Any = make(node, "trainer.schedule", object)
    if not callable(made):
        raise UserError("trainer.schedule: give a node with _target_ and _partial_: true")
    try:
        made(0.0, epochs)
    except (TypeError, ValueError) as error:
        raise UserError(f"trainer.schedule: {node['_target_']} refuses: {error}") from error
    return made  # type: ignore[no-any-return]
