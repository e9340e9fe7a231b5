"""Saliency of weights and channels, and the norms it is compared with.

Weights and gradients are given one tensor a layer, of any shape, at least one, in the same order.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from diswot.proxies.passes import weighted, weights

__all__ = [
    "exact_sum",
    "fisher",
    "grad_norm",
    "grasp",
    "l2_norm",
    "plain",
    "snip",
    "sqrt_params",
    "synflow",
]


def exact_sum(values: Iterable[Tensor]) -> float:
    """Sum of one or more scalars, rounded once: those that are zero and their order change no bit.

    >>> exact_sum(torch.tensor([1e20, 1.0, -1e20], dtype=torch.float64))
    1.0
    """
    return math.fsum(torch.stack(list(values)).tolist())


def sqrt_params(network: nn.Module) -> float:
    """``Σ_l √P_l``, P_l the parameters of a convolution or linear layer, its bias included.

    >>> sqrt_params(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5)))
    9.0
    """
    layers = weighted(network).values()
    sizes = (sum(p.numel() for p in layer.parameters(recurse=False)) for layer in layers)
    return math.fsum(map(math.sqrt, sizes))


def l2_norm(weights: Iterable[Tensor]) -> float:
    """``Σ_l ‖W_l‖₂``, every tensor taken as one vector (Abdelfattah et al., ICLR 2021).

    >>> l2_norm([torch.tensor([3.0, 4.0]), torch.tensor([[-2.0]])])
    7.0
    """
    return exact_sum(weight.double().norm() for weight in weights)


def grad_norm(gradients: Iterable[Tensor], *, form: str = "layers") -> float:
    """``Σ_l ‖dL/dW_l‖₂`` (Abdelfattah et al., ICLR 2021), or one norm over all gradients.

    The latter, ``form="global"``, is what Lin et al., "Zen-NAS", ICCV 2021 compare with.

    >>> gradients = [torch.tensor([3.0]), torch.tensor([-4.0])]
    >>> grad_norm(gradients), grad_norm(gradients, form="global")
    (7.0, 5.0)
    """
    if form == "layers":
        return l2_norm(gradients)
    return math.sqrt(exact_sum(gradient.double().square().sum() for gradient in gradients))


def plain(weights: Iterable[Tensor], gradients: Iterable[Tensor]) -> float:
    """``Σ w · dL/dw``, signed (Mozer & Smolensky, "Skeletonization", NeurIPS 1988).

    >>> plain([torch.tensor([1.0, -2.0])], [torch.tensor([4.0, 5.0])])
    -6.0
    """
    pairs = zip(weights, gradients, strict=True)
    return exact_sum((w.double() * g.double()).sum() for w, g in pairs)


def snip(weights: Iterable[Tensor], gradients: Iterable[Tensor]) -> float:
    """``Σ |w · dL/dw|`` (Lee et al., "SNIP", ICLR 2019).

    >>> snip([torch.tensor([1.0, -2.0])], [torch.tensor([4.0, 5.0])])
    14.0
    """
    pairs = zip(weights, gradients, strict=True)
    return exact_sum((w.double() * g.double()).abs().sum() for w, g in pairs)


def fisher(output: Tensor, gradient: Tensor) -> Tensor:
    """Fisher information of a gate on each channel: ``½ mean_b (Σ_hw a · da)²``, ``(C,)``, float64.

    The output a is ``(B, C)`` or ``(B, C, H, W)``, da the gradient of the mean loss by it. Source:
    Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018.

    >>> fisher(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([2., 0.], dtype=torch.float64)
    """
    products = (output * gradient).double()
    if products.ndim > 2:
        products = products.sum(tuple(range(2, products.ndim)))
    return products.square().mean(0) / 2


def grasp(loss: Tensor, weights: Sequence[Tensor]) -> float:
    """``−Σ w · (H g)`` with gradient g and Hessian H of the loss (Wang et al., ICLR 2020).

    ``H g`` is the gradient of ``g · g'`` with g held fixed. The loss has a graph; weights that it
    does not depend on add nothing.

    >>> weight = torch.tensor([3.0, 1.0], requires_grad=True)
    >>> grasp(weight.square().sum() / 2, [weight])
    -10.0
    """
    first = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    product = torch.stack([(g.detach() * g).sum() for g in first if g is not None]).sum()
    second = torch.autograd.grad(product, weights, materialize_grads=True)
    return -plain((weight.detach() for weight in weights), second)


def _positive(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().abs()
    return tensor.double() if tensor.is_floating_point() else tensor


def synflow(
    network: nn.Module, image: Tensor, *, log: bool = False, batch_norm: bool = False
) -> float:
    """``Σ_w |w · dR/dw|``, R the sum of the logits of a network made positive.

    For this pass all parameters and statistics are replaced by their absolute values in float64;
    the image is of ones, ``(1, C, H, W)``. Summed are the weights of convolutions and linear
    layers, with ``log`` as ``Σ_w |w · ln(1 + dR/dw)|`` (Cavagnero et al., "FreeREA", WACV 2023).
    Without ``batch_norm`` BatchNorm is the identity.

    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving
    synaptic flow", NeurIPS 2020.

    Both layers conserve the flow, 3 · 2 for each of two inputs.

    >>> network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
    >>> for layer, value in zip(network, (-3.0, 2.0)):
    ...     _ = nn.init.constant_(layer.weight, value)
    >>> synflow(network, torch.ones(1, 2))
    24.0
    """
    state = {name: _positive(tensor) for name, tensor in network.state_dict().items()}
    layers = [state[f"{name}.weight"].requires_grad_() for name in weights(network)]
    kinds = () if batch_norm else nn.modules.batchnorm._BatchNorm
    skipped = [module for module in network.modules() if isinstance(module, kinds)]
    for module in skipped:
        module.forward = nn.Identity().forward  # type: ignore[method-assign]
    try:
        with torch.enable_grad():
            flow = functional_call(network, state, image.double()).sum()
            gradients = torch.autograd.grad(flow, layers, allow_unused=True)
    finally:
        for module in skipped:
            del module.forward
    pairs = zip(layers, gradients, strict=True)
    slopes = ((w.detach(), g.log1p() if log else g) for w, g in pairs if g is not None)
    return float(sum((weight * slope).abs().sum().item() for weight, slope in slopes))
