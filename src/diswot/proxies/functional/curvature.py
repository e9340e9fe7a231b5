"""Curvature of what a network makes of a circle of images."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

__all__ = ["circle_curvature", "dextr", "extrinsic_curvature", "images_on_circle"]


def images_on_circle(first: Tensor, second: Tensor, angles: Tensor) -> Tensor:
    """``√D (u cos θ + w sin θ)`` for angles ``(N,)``: ``(N, C, H, W)``, of the images' type.

    u and w are the two images ``(C, H, W)``, made orthonormal in this order, D = CHW; pixels on the
    circle have a mean square of 1.

    >>> images_on_circle(*torch.eye(2).view(2, 1, 1, 2) * 3, torch.tensor([0.0])).flatten()
    tensor([1.4142, 0.0000])
    """
    u = first.flatten().double()
    u = u / u.norm()
    w = second.flatten().double()
    w = w - (w @ u) * u
    w = w / w.norm()
    plane = torch.stack([u, w]).to(first.dtype) * len(u) ** 0.5
    along = torch.stack([angles.cos(), angles.sin()], dim=1)
    images: Tensor = along.to(first.dtype) @ plane
    return images.view(-1, *first.shape)


def extrinsic_curvature(velocity: Tensor, acceleration: Tensor) -> Tensor:
    """``√(|v|²|a|² − (v·a)²) / |v|³`` of curves ``(N, K)``: ``(N,)`` in float64, 0 where v is 0.

    Source: Poole et al., "Exponential expressivity in deep neural networks through transient
    chaos", NeurIPS 2016.

    A circle of radius 2 that is run through with angular speed 3:

    >>> extrinsic_curvature(torch.tensor([[0.0, 6.0]]), torch.tensor([[-18.0, 0.0]]))
    tensor([0.5000], dtype=torch.float64)
    """
    v, a = velocity.double(), acceleration.double()
    square = v.square().sum(1)
    across = (square * a.square().sum(1) - (v * a).sum(1).square()).clamp_min(0).sqrt()
    return torch.where(square > 0, across / square.clamp_min(1e-300) ** 1.5, 0.0)


def circle_curvature(
    network: Callable[[Tensor], Tensor], images: tuple[Tensor, Tensor], points: int
) -> tuple[Tensor, Tensor]:
    """Velocity and acceleration ``(N, K)`` of the logits at ``points`` equal steps of a circle.

    The circle is that of `images_on_circle`; all points go round it together, in one batch, which
    BatchNorm in train mode normalises. Derivatives by the angle are exact, by forward mode; kinks
    of ReLU have none. BatchNorms must not keep running statistics.

    >>> images = torch.eye(2).view(2, 1, 1, 2)
    >>> v, a = circle_curvature(lambda x: 3 * x.flatten(1), tuple(images), points=2)
    >>> extrinsic_curvature(v, a) * (3 * 2**0.5)
    tensor([1.0000, 1.0000], dtype=torch.float64)
    """
    zero, one = images[0].new_zeros(()), images[0].new_ones(())
    angles = torch.arange(points, device=zero.device, dtype=zero.dtype) * (2 * torch.pi / points)

    def logits(turn: Tensor) -> Tensor:
        return network(images_on_circle(*images, angles + turn))

    def velocity(turn: Tensor) -> Tensor:
        moved: Tensor = jvp(logits, (turn,), (one,))[1]
        return moved

    both = jvp(velocity, (zero,), (one,))
    return both[0], both[1]


def dextr(conditions: Tensor, curved: Tensor) -> Tensor:
    """``ln(1 + c) ln(1 + κ) / (ln(1 + c) + ln(1 + κ))`` of two scalars; 0 where one is 0.

    c is the sum over layers of `inverse_condition`, κ the `extrinsic_curvature` of the logits.
    Source: Asthana et al., "Dextr", TMLR 2025.

    >>> dextr(torch.tensor(1.0).exp() - 1, torch.tensor(1.0).exp() - 1)
    tensor(0.5000)
    """
    one, other = conditions.log1p(), curved.log1p()
    return torch.where(one * other > 0, one * other / (one + other), 0.0)
