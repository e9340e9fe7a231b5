"""VKDNW: how evenly a classifier's predictions depend on its weights."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.checks import choice, whole
from diswot.keys import generator
from diswot.models.init import Kaiming
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weighted

_LAYERS, _MIXTURES = 128, 10


class VKDNW(Proxy):
    """Layers with weights, plus the entropy of the Fisher spectrum's deciles.

    Source: Týbl and Neumann, "Training-free Neural Architecture Search through Variance of
    Knowledge of Deep Network Weights", CVPR 2025, equations 8 to 12: ``layers`` is the number of
    convolutions and linear layers, ``entropy`` the `functional.decile_entropy` of the empirical
    Fisher information ``mean_n J_nᵀ (diag σ_n − σ_n σ_nᵀ) J_n``, J_n the Jacobian of an image's
    logits, σ_n its predictions; labels are not read. As published only some weights of each layer
    count, and only the first 128 layers; here they are evenly spaced over the flattened weight,
    beginning with the first.

    Choices where the paper leaves room: BatchNorm normalises by the mini-batch's statistics, held
    fixed, so that an image's predictions depend on itself alone. A backward pass to all layers'
    outputs gives one row of every image's Jacobian. With more than 10 classes not every class gets
    a pass: the rows are 10 random sign mixtures of the classes' rows, whose expected Fisher
    information is the same. A candidate costs about as much as a dozen forward passes; fewer
    ``images`` make it cheaper in proportion.

    Known weaknesses: the number of layers decides, the entropy only between networks of one depth;
    layers that reach no logits count like others; the spectrum of a few weights is that of a random
    principal minor, and it has fewer than P eigenvalues above zero where images × classes < P.

    Args:
        images: Images, as many as that or as the mini-batch has. Published with 64.
        per_layer: Weights of each layer.
        inputs: ``noise`` from N(0, 1) as published, or the mini-batch's first ``images``.
        init: ``kaiming`` (fan-in), or ``run`` for the weights of the run's ``init``.
    """

    needs_forward = False
    needs_gradients = True
    reported = ("images", "per_layer", "inputs", "init")

    def __init__(
        self,
        *,
        name: str,
        images: int = 64,
        per_layer: int = 1,
        inputs: str = "noise",
        init: str = "kaiming",
    ) -> None:
        super().__init__(name=name)
        self.images = whole(f"proxy.{name}.images", images, 1)
        self.per_layer = whole(f"proxy.{name}.per_layer", per_layer, 1)
        self.inputs = choice(f"proxy.{name}.inputs", inputs, ("noise", "images"))
        self.init = choice(f"proxy.{name}.init", init, ("kaiming", "run"))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where nine in ten sampled weights do not change the predictions."""
        network, images = inputs.copy(), inputs.batch.images[: self.images]
        if self.init == "kaiming":
            Kaiming()(network, seed=inputs.seed, role="student")
        if self.inputs == "noise":
            images = inputs.noise("vkdnw proxy", inputs.seed, images=len(images))
        rows = _rows(network, images, self.per_layer, inputs.seed)
        spectrum = functional.fisher_spectrum(rows, len(images))
        return {
            "layers": float(len(weighted(network))),
            "entropy": functional.decile_entropy(spectrum).item(),
        }


@dataclass(frozen=True)
class _Call:
    """A call of a layer, and by how much its sampled weights change the channels they belong to."""

    columns: slice
    axis: int
    channels: Tensor
    slopes: Tensor
    output: Tensor


def _rows(network: nn.Module, images: Tensor, per_layer: int, seed: int) -> Tensor:
    """Rows ``(R, P)`` of ``S J`` of all images, P the sampled weights, in float64."""
    _fix_statistics(network, images)
    calls: list[_Call] = []
    with torch.enable_grad(), ExitStack() as hooks:
        size = 0
        for module in list(weighted(network).values())[:_LAYERS]:
            columns = slice(size, size + min(per_layer, module.get_parameter("weight").numel()))
            hooks.enter_context(module.register_forward_hook(partial(_record, calls, columns)))
            size = columns.stop
        logits = network(images)
    factor = functional.fisher_factor(logits.detach())
    outputs = [call.output for call in calls]
    rows = []
    for cotangent in _cotangents(factor, seed):
        gradients = torch.autograd.grad(
            logits, outputs, cotangent.to(logits), retain_graph=True, materialize_grads=True
        )
        row = torch.zeros(len(images), size, dtype=torch.float64, device=images.device)
        for call, gradient in zip(calls, gradients, strict=True):
            channels = gradient.movedim(call.axis, 1)[:, call.channels]
            changed = channels.double() * call.slopes
            row[:, call.columns] += changed.reshape(len(images), changed.shape[1], -1).sum(2)
        rows.append(row)
    return torch.cat(rows)


def _cotangents(factor: Tensor, seed: int) -> Iterator[Tensor]:
    """What to multiply the logits' Jacobians with, ``(B, K)`` for each backward pass."""
    classes = factor.shape[1]
    if classes > _MIXTURES:
        key = generator("vkdnw proxy", seed, "mixtures")
        shape = (len(factor), _MIXTURES, classes)
        signs = torch.randint(2, shape, generator=key).mul_(2).sub_(1)
        factor = signs.to(factor) @ factor / _MIXTURES**0.5
    yield from factor.unbind(1)


def _fix_statistics(network: nn.Module, images: Tensor) -> None:
    """Switch to eval mode, every BatchNorm with the images' statistics, no module in place."""
    for module in network.train().modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.momentum = 1.0
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    with torch.no_grad():
        network(images)
    network.eval()


def _record(
    calls: list[_Call],
    columns: slice,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    output: Tensor,
) -> None:
    """Add a call of a layer: a weight scales what it reads of the input for its output channel."""
    weight, entered = module.get_parameter("weight"), inputs[0].detach()
    count = columns.stop - columns.start
    places = torch.arange(count) * weight.numel() // count
    channels, *where = torch.unravel_index(places, weight.shape)
    if isinstance(module, nn.Linear):
        axis, slopes = -1, entered.movedim(-1, 1)[:, where[0]]
    elif isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
        members = weight.shape[1]
        group = channels.div(weight.shape[0] // module.groups, rounding_mode="floor")
        kernels = weight.new_zeros(count, 1, *weight.shape[2:])
        kernels[torch.arange(count), 0, where[1], where[2]] = 1
        axis, read = 1, entered[:, group * members + where[0]]
        slopes = F.conv2d(
            read,
            kernels,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=count,
        )
    else:
        raise ValueError(f"weights of {type(module).__name__} layers cannot be sampled")
    calls.append(_Call(columns, axis, channels, slopes.double(), output))
