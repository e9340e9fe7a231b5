"""The protocol of a training: the settings of ``conf/protocol``."""

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
    *("label_smoothing", "ema", "gradient_clip", "validation", "compile", "teacher_cache"),
)


@dataclass(frozen=True)
class Protocol:
    """How a student is trained.

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
        cache_views: Views of the images whose teacher logits are stored; 0: none are.
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
    cache_views: int

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> Protocol:
        """Check the settings and make the parts.

        Raises:
            UserError: A setting is outside what is allowed.
        """
        _check_keys("protocol", node, _SETTINGS)
        _check_keys("protocol.teacher_cache", node["teacher_cache"], ("views", "dir"))
        epochs = whole("protocol.max_epochs", node["max_epochs"], 1)
        views = whole("protocol.teacher_cache.views", node["teacher_cache"]["views"], 0)
        if views > epochs:
            raise UserError(
                f"protocol.teacher_cache.views={views}: with protocol.max_epochs={epochs} at most "
                f"{epochs} are ever shown"
            )

        def within(name: str, high: float) -> float:
            return number(f"protocol.{name}", node[name], low=0, high=high)

        augment, inf = node["augment"], float("inf")
        return cls(
            name=str(node["name"]),
            max_epochs=epochs,
            optimizer=_checked("protocol.optimizer", node["optimizer"], _one_step),
            schedule=_checked(
                "protocol.schedule", node["schedule"], lambda made: made(0.0, epochs)
            ),
            augment=None if augment is None else make(augment, "protocol.augment", Augmentation),  # type: ignore[type-abstract]
            mixing=Mixing(node["mixup"], node["cutmix"]),
            ce_weight=None if node["ce_weight"] is None else within("ce_weight", inf),
            label_smoothing=within("label_smoothing", 0.99),
            ema=within("ema", 0.999999),
            gradient_clip=within("gradient_clip", inf),
            validation=within("validation", 0.9),
            compile=flag("protocol.compile", node["compile"]),
            cache_views=views,
        )


def _check_keys(setting: str, node: object, wanted: Sequence[str]) -> None:
    if not isinstance(node, Mapping):
        raise UserError(f"{setting}={node}: give settings of {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in node]:
        raise UserError(f"{setting}.{missing[0]} is left out; conf/train.yaml says what it may be")
    if unknown := [str(name) for name in node if name not in wanted]:
        raise UserError(f"{setting}.{unknown[0]} is not a setting; allowed are {', '.join(wanted)}")


def _checked(setting: str, node: Mapping[str, Any], trial: Callable[[Any], object]) -> Any:
    """The callable of a node, after a trial call that shows whether it takes its settings."""
    made: Any = make(node, setting, object)
    if not callable(made):
        raise UserError(f"{setting}: give a node with _target_ and _partial_: true")
    try:
        trial(made)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{setting}: {node['_target_']} refuses: {error}") from error
    return made


def _one_step(optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    optimizer([weight]).step()
