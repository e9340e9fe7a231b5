"""What a ranking is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Conditions", "Scores", "Target"]


@dataclass(frozen=True)
class Scores:
    """What every proxy says of every arch, and what they cost.

    Args:
        archs: Texts of the N architectures.
        seeds: The S seeds they were scored with.
        values: Proxy → (S, N), higher is better, NaN where it could not be scored.
        seconds: Proxy → mean seconds an arch.
        params: (N,), a count.
        flops: (N,), multiply-accumulates of one image.
        baselines: Proxies that look at size alone or at nothing.
        controls: Proxy → its control, which is among the values too.

    Raises:
        ValueError: Shapes do not fit together.
    """

    archs: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]
    seconds: Mapping[str, float]
    params: NDArray[np.float64]
    flops: NDArray[np.float64]
    baselines: frozenset[str]
    controls: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes."""
        count = len(self.archs)
        for name, sizes in (("params", self.params), ("flops", self.flops)):
            _check(name, sizes, (count,))
        for name, values in self.values.items():
            _check(f"scores of {name}", values, (len(self.seeds), count))


@dataclass(frozen=True)
class Target:
    """Known accuracies of the archs.

    Args:
        dataset: What was trained on, such as ``cifar100``.
        target: How, such as ``vanilla`` or ``distilled``.
        accuracy: (N,), percent, in the order of `Scores.archs`.
    """

    dataset: str
    target: str
    accuracy: NDArray[np.float64]


@dataclass(frozen=True)
class Conditions:
    """What was the same for all scores.

    Args:
        space: Name.
        data: Name of the images' data set.
        num_classes: Width of the classifiers.
        init: Name of the initialisation.
        teacher: Name, ``none`` without one.
        teacher_weights: As set.
        batch_size: Images of the mini-batch.
        image_size: Their side in pixels.
        source: What the accuracies are read from.
    """

    space: str
    data: str
    num_classes: int
    init: str
    teacher: str
    teacher_weights: str = "none"
    batch_size: int = 0
    image_size: int = 0
    source: str = ""


def _check(name: str, values: NDArray[np.float64], wanted: tuple[int, ...]) -> None:
    if np.shape(values) != wanted:
        raise ValueError(f"{name} have shape {np.shape(values)}, expected {wanted}")
