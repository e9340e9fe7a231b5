"""The protocol of a training, the settings of ``conf/protocol``; Mixup and CutMix on a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diswot.checks import flag, number, positive, switch, whole
from diswot.config import make
from diswot.data.augment import Augmentation
from diswot.errors import UserError
from diswot.training.schedules import Schedule

_SETTINGS = (
    *("name", "max_epochs", "optimizer", "schedule", "augment", "mixup", "cutmix", "ce_weight"),
    *("label_smoothing", "ema", "gradient_clip", "validation", "compile", "teacher_cache"),
    "balance",
)
_CACHE_SETTINGS = ("views", "dir", "top", "half", "embedding")


class Mixed(NamedTuple):
    """A batch whose images ``(B, C, H, W)`` may be mixtures of two.

    Attributes:
        labels, others: Class of the first and of the second image of each mixture, ``(B,)``.
        share: Of the first image.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float


class Mixing:
    """Mixup (Zhang et al., ICLR 2018) or CutMix (Yun et al., ICCV 2019), by turns if both are on.

    Each is given as the α of the Beta distribution of shares; 0: off; UserError below 0.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        self.mixup = number("protocol.mixup", mixup, low=0)
        self.cutmix = number("protocol.cutmix", cutmix, low=0)

    def __bool__(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, images: Tensor, labels: Tensor, draw: torch.Generator) -> Mixed:
        """Mix each image with another of the batch; one share for all of them."""
        if not self:
            return Mixed(images, labels, labels, 1.0)
        cut = bool(self.cutmix) and (not self.mixup or _uniform(draw) < 0.5)
        share = _beta(self.cutmix if cut else self.mixup, draw)
        partner = torch.randperm(len(images), generator=draw).to(labels.device)
        if cut:
            images, share = _cut(images, images[partner], share, draw)
        else:
            images = torch.lerp(images[partner], images, share)
        return Mixed(images, labels, labels[partner], share)


def _cut(
    images: Tensor, others: Tensor, share: float, draw: torch.Generator
) -> tuple[Tensor, float]:
    """Put one rectangle of the others into the images; the share of what is left of the images."""
    side, edges = (1 - share) ** 0.5, list[int]()
    for length in images.shape[2:]:
        centre = _uniform(draw) * length
        ends = (round(centre + sign * side * length / 2) for sign in (-1, 1))
        edges += [min(max(end, 0), length) for end in ends]
    top, bottom, left, right = edges
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / math.prod(images.shape[2:])


def _uniform(draw: torch.Generator) -> float:
    return torch.rand((), generator=draw).item()


def _beta(alpha: float, draw: torch.Generator) -> float:
    concentration = torch.full((2,), alpha, dtype=torch.float64)
    gammas = torch._standard_gamma(concentration, generator=draw)
    return float(gammas[0] / gammas.sum()) if gammas.sum() > 0 else 1.0


@dataclass(frozen=True)
class Protocol:
    """How a student is trained; ``conf/train.yaml`` says what each setting may be.

    Attributes:
        augment: Views of the training images; None: as they are.
        ce_weight: Weight of the cross-entropy; None: the distillers'.
        balance: What each weighted distillation loss is at the start, as a share of the
            cross-entropy; None: the distillers' weights.
        label_smoothing: Share of a label that is spread over all classes.
        ema: Decay of the averaged weights that are evaluated and saved; 0: no average.
        gradient_clip: Largest norm of the gradient; 0: any.
        validation: Share of the training images held out; 0: the test images validate.
        compile: Whether the student is compiled; ``reduce-overhead``: also into CUDA graphs.
        cache_views: Views of the images whose teacher outputs are stored; 0: none are.
        cache_embedding: Whether embeddings are among these.
    """

    name: str
    max_epochs: int
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    schedule: Schedule
    augment: Augmentation | None
    mixing: Mixing
    ce_weight: float | None
    balance: float | None
    label_smoothing: float
    ema: float
    gradient_clip: float
    validation: float
    compile: bool | str
    cache_views: int
    cache_embedding: bool

    @classmethod
    def from_config(cls, node: Mapping[str, Any]) -> Protocol:
        """Make the parts of checked settings; a `UserError` for one that is not allowed."""
        _check_keys("protocol", node, _SETTINGS)
        cache = node["teacher_cache"]
        _check_keys("protocol.teacher_cache", cache, _CACHE_SETTINGS)
        epochs = whole("protocol.max_epochs", node["max_epochs"], 1)
        views = whole("protocol.teacher_cache.views", cache["views"], 0)
        if cache["top"] is not None:
            whole("protocol.teacher_cache.top", cache["top"], 1)
        flag("protocol.teacher_cache.half", cache["half"])
        if views > epochs:
            raise UserError(
                f"protocol.teacher_cache.views={views}: with protocol.max_epochs={epochs} at most "
                f"{epochs} are ever shown"
            )

        def within(name: str, high: float = math.inf) -> float:
            return number(f"protocol.{name}", node[name], low=0, high=high)

        def schedule_start(schedule: Schedule) -> float:
            return schedule(0.0, epochs)

        augment, balance = node["augment"], node["balance"]
        return cls(
            name=str(node["name"]),
            max_epochs=epochs,
            optimizer=_checked("protocol.optimizer", node["optimizer"], _one_step),
            schedule=_checked("protocol.schedule", node["schedule"], schedule_start),
            augment=None if augment is None else make(augment, "protocol.augment", Augmentation),
            mixing=Mixing(node["mixup"], node["cutmix"]),
            ce_weight=None if node["ce_weight"] is None else within("ce_weight"),
            balance=None if balance is None else positive("protocol.balance", balance),
            label_smoothing=within("label_smoothing", 0.99),
            ema=within("ema", 0.999999),
            gradient_clip=within("gradient_clip"),
            validation=within("validation", 0.9),
            compile=switch("protocol.compile", node["compile"], "reduce-overhead"),
            cache_views=views,
            cache_embedding=flag("protocol.teacher_cache.embedding", cache["embedding"]),
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
