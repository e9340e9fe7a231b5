"""Images made of a trained network alone, whose weights and statistics say what it has seen.

DeepInversion (Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion",
CVPR 2020, equations 3 and 4), without its competition of a student: images are optimised until
the network is sure of their labels, and what its BatchNorms see has the statistics they remember.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from diswot.data.base import EvalTransform, ImageData
from diswot.errors import UserError

_BETAS = (0.5, 0.9)  # of Adam, as released
_LAYERS = 4  # that an image is the sum of, each half as large as the one before


@dataclass(frozen=True)
class Inversion:
    """How images are optimised.

    Attributes:
        steps: Of Adam, whose rate ``lr``, in deviations of the data, falls to 0 by a cosine; with
            0 steps the images are the noise they begin with.
        statistics, variation: Weights of these losses beside the cross-entropy.
        shift: Pixels by which a batch is shifted at random, and mirrored, before a step.
        grey: Images have one channel, which all channels of the network are given.
    """

    steps: int
    lr: float
    statistics: float
    variation: float
    shift: int
    grey: bool


def statistics_distance(given: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    """How far what a BatchNorm is given, (B, C, …), is from the ``mean`` and ``var`` it remembers.

    ``mean_c (μ_c − mean_c)² / (var_c + ε) + mean_c (σ²_c / (var_c + ε) − 1)²`` over its channels,
    with μ and σ² of the batch. DeepInversion's is the norm of the differences themselves; here
    layers of any scale and width count alike.
    """
    axes = [0, *range(2, given.dim())]
    scale = var + eps
    far = (given.mean(axes) - mean).square() / scale
    wide = given.var(axes, correction=0) / scale - var / scale
    return far.mean() + wide.square().mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (B, C, H, W), below and beside."""
    below = (images[..., 1:, :] - images[..., :-1, :]).square().mean()
    return below + (images[..., 1:] - images[..., :-1]).square().mean()


@dataclass(frozen=True)
class Losses:
    """Of a batch; ``agreement`` is the share in percent that is put into the class of its label."""

    cross_entropy: Tensor
    statistics: Tensor
    agreement: float


class Inverted:
    """A network in eval mode, frozen, that is asked for `Losses`.

    Raises:
        UserError: It has no BatchNorm that remembers statistics.
    """

    def __init__(self, network: nn.Module, device: str) -> None:
        layers = [each for each in network.modules() if isinstance(each, _BatchNorm)]
        self._layers = [each for each in layers if each.running_mean is not None]
        if not self._layers:
            raise UserError(
                "teacher: it has no BatchNorm, whose statistics say what images it was trained on; "
                "take a teacher with BatchNorm, such as a ResNet"
            )
        self.device = device
        self._network = network.requires_grad_(False).eval()
        self._network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Of normalised images (B, C, H, W) and labels (B,)."""
        images, labels = images.to(self.device), labels.to(self.device)
        with self._distances() as distances:
            logits = self._network(images.contiguous(memory_format=torch.channels_last))
        agreement = 100 * float((logits.argmax(1) == labels).float().mean())
        return Losses(F.cross_entropy(logits, labels), torch.stack(distances).sum(), agreement)

    @contextmanager
    def _distances(self) -> Iterator[list[Tensor]]:
        """`statistics_distance` of each BatchNorm that is passed."""
        found = list[Tensor]()

        def seen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            norm = cast(_BatchNorm, layer)
            mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
            found.append(statistics_distance(inputs[0], mean, var, norm.eps))

        hooks = [layer.register_forward_pre_hook(seen) for layer in self._layers]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()


def synthesized(
    network: Inverted,
    labels: Tensor,
    data: ImageData,
    settings: Inversion,
    draws: torch.Generator,
    *,
    on_step: Callable[[int], object] = lambda step: None,
) -> Tensor:
    """Images of the ``labels`` (B,), uint8 (B, C, H, W) on the CPU; all randomness is of ``draws``.

    What is optimised are layers of `_LAYERS` sizes, whose sum, enlarged to the size of the images
    and limited to the values that bytes can have, is the image. They begin as noise. So steps of
    one rate draw large shapes as fast as single pixels. ``data`` says what images are like; none is
    read.
    """
    channels, side, _ = data.image_shape
    ends = data.transform.normalize(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1))
    low, high = ends[:, : 1 if settings.grey else channels].to(network.device)
    sizes = [max(1, side >> halvings) for halvings in range(_LAYERS)]
    noise = [torch.randn(len(labels), len(low), n, n, generator=draws) for n in sizes]
    layers = [(each / _LAYERS**0.5).to(network.device).requires_grad_() for each in noise]
    optimizer = torch.optim.Adam(layers, betas=_BETAS)

    def images() -> Tensor:
        parts = [F.interpolate(each, (side, side), mode="bilinear") for each in layers]
        return torch.stack(parts).sum(0).clamp(low, high)

    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * (1 + cos(pi * step / settings.steps)) / 2
        made = images()
        shown = _shifted(made, settings.shift, draws).expand(-1, channels, -1, -1)
        losses = network.losses(shown, labels)
        loss = losses.cross_entropy + settings.statistics * losses.statistics
        loss = loss + settings.variation * total_variation(made)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_step(step)
    with torch.no_grad():
        return as_bytes(images().expand(-1, channels, -1, -1), data.transform)


def _shifted(images: Tensor, most: int, draws: torch.Generator) -> Tensor:
    """All images shifted alike, around the edges, and maybe mirrored."""
    down, right = torch.randint(-most, most + 1, (2,), generator=draws).tolist()
    moved = images.roll((down, right), (2, 3))
    return moved.flip(3) if torch.rand((), generator=draws) < 0.5 else moved


def as_bytes(images: Tensor, transform: EvalTransform) -> Tensor:
    """Normalised images as uint8, on the CPU."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (transform.mean, transform.std))
    return ((images.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
