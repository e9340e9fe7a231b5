"""Proxies of the agreement of gradients: between images, classes and batches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.checks import choice, flag, whole
from diswot.errors import UserError
from diswot.keys import generator
from diswot.models.layers import PaddedShortcut
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weights

_KERNEL_IMAGES = 16
_REGION_IMAGES, _REGION_SIZE = 1000, 3


class Jacov(Proxy):
    """Spectrum of the correlation of the images' Jacobians, see `functional.jacov`.

    Source: Mellor et al., "Neural Architecture Search without Training", first version, 2020; as a
    proxy Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. With BatchNorm in
    train mode the values lie close together (near −B), so that digits matter. Released code that
    scores several networks on one input tensor adds up their gradients; here each has its own.
    """

    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where an image's gradient is constant: no layer reaches the logits."""
        return {"jacov": functional.jacov(inputs.gradients.images).item()}


class EpeNAS(Proxy):
    """Correlation of Jacobians within each class, see `functional.epe_nas`.

    Source: Lopes et al., "EPE-NAS: Efficient Performance Estimation Without Training for Neural
    Architecture Search", ICANN 2021. How many classes there are is the classifier's width. A class
    with one image adds 1e-5; a balanced mini-batch needs more images than classes.
    """

    needs_labels = True
    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where no class has two images, or an image's gradient is constant."""
        rows, classes = inputs.gradients.images, inputs.outputs.logits.shape[1]
        return {"epe_nas": functional.epe_nas(rows, inputs.batch.labels, classes).item()}


class ZiCo(Proxy):
    """``Σ_layers ln Σ_w mean_i |g_wi| / std_i g_wi`` over batches i of the mini-batch.

    Source: Li et al., "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients", ICLR
    2023; see `functional.zico`. g is the gradient of the mean cross-entropy of one batch, in train
    mode, by the weights of convolutions and linear layers. Every batch has gradients of its own: in
    the released code they can share memory, and then all batches are alike. With two batches the
    standard deviation is half a difference: float32 is good for three digits only.

    Args:
        batches: Equal parts the mini-batch is split into, in order; images left over are not
            used. Published with 2.
    """

    needs_labels = True
    needs_forward = False
    needs_gradients = True
    reported = ("batches",)

    def __init__(self, *, name: str, batches: int = 2) -> None:
        super().__init__(name=name)
        self.batches = whole(f"proxy.{name}.batches", batches, 2)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where no layer has a gradient that changes with the batch."""
        images, labels = inputs.batch.images, inputs.batch.labels
        size = len(images) // self.batches
        if not size:
            raise UserError(
                f"proxy.{self.name}.batches={self.batches}: a mini-batch of {len(images)} images "
                f"has no {self.batches} parts; lower it or raise data.batch_size"
            )
        network = inputs.copy()
        own = list(weights(network).values())
        gradients = []
        for start in range(0, size * self.batches, size):
            part = slice(start, start + size)
            with torch.enable_grad():
                loss = F.cross_entropy(network(images[part]), labels[part])
            gradients.append(torch.autograd.grad(loss, own, allow_unused=True))
        layers = (
            torch.stack([gradient.flatten() for gradient in layer])
            for layer in zip(*gradients, strict=True)
            if layer[0] is not None
        )
        return {"zico": functional.zico(layers).item()}


class TENAS(Proxy):
    """Ranks of −λ_max/λ_min of the neural tangent kernel and of linear regions, added.

    Source: Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically
    Inspired Perspective", ICLR 2021. ``ntk`` is minus the condition number of the tangent kernel on
    the mini-batch's first 16 images, in train mode; as released a kernel whose least eigenvalue is
    rounded below zero wins, here it has no score. ``regions`` is the number of ReLU patterns among
    1,000 Gaussian images of 3 × 3 pixels, counted as released in a copy that is one channel wide:
    at full width, or with images of the usual size, next to every image has a pattern of its own
    and all networks score the same.

    Args:
        combine: ``rank`` as published adds the ranks among all candidates seen so far, so that
            scores are relative; ``ntk`` and ``regions`` take one of the two as it is.
        thin: Count regions in the copy of one channel; otherwise at full width.
    """

    needs_forward = False
    needs_gradients = True
    reported = ("combine", "thin")

    def __init__(self, *, name: str, combine: str = "rank", thin: bool = True) -> None:
        super().__init__(name=name)
        self.combine = choice(f"proxy.{name}.combine", combine, ("rank", "ntk", "regions"))
        self.thin = flag(f"proxy.{name}.thin", thin)
        self.needs_gradients = combine != "regions"
        self.relative = combine == "rank"

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where the kernel is singular, or no map goes through a ReLU module."""
        components: Components = {}
        relus = (isinstance(module, nn.ReLU | nn.ReLU6) for module in inputs.network.modules())
        if self.combine != "ntk" and not any(relus):
            raise ValueError("the network has no nn.ReLU or nn.ReLU6 module to count regions of")
        if self.combine != "regions":
            gram = functional.tangent_kernel(inputs.copy(), inputs.batch.images[:_KERNEL_IMAGES])
            components["ntk"] = -functional.condition_number(gram).item()
        if self.combine != "ntk":
            network = _thinned(inputs.copy()) if self.thin else inputs.copy()
            channels = 1 if self.thin else inputs.batch.images.shape[1]
            shape = (_REGION_IMAGES, channels, _REGION_SIZE, _REGION_SIZE)
            images = torch.randn(shape, generator=generator("te_nas proxy", inputs.seed))
            images = images.to(inputs.batch.images)
            components["regions"] = float(functional.linear_regions(network, images))
        return components

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """The sum of ranks, or the one component."""
        return functional.combine(components, "rank" if self.relative else "sum")


def _thinned(network: nn.Module) -> nn.Module:
    """Keep the first channel of every layer, with its parameters."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _cut(module, ["weight", "bias"], slice(1), slice(1))
            module.in_channels = module.out_channels = module.groups = 1
        elif isinstance(module, nn.BatchNorm2d):
            _cut(module, ["weight", "bias", "running_mean", "running_var"], slice(1))
            module.num_features = 1
        elif isinstance(module, nn.Linear):
            _cut(module, ["weight"], slice(None), slice(1))
            module.in_features = 1
        elif isinstance(module, PaddedShortcut):
            module.before = module.after = 0
    return network


def _cut(module: nn.Module, names: Sequence[str], *parts: slice) -> None:
    for name in names:
        tensor = getattr(module, name)
        if isinstance(tensor, Tensor):
            kept = tensor.detach()[parts[: tensor.ndim]].clone()
            setattr(module, name, nn.Parameter(kept) if isinstance(tensor, nn.Parameter) else kept)
