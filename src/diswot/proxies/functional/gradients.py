"""Agreement of gradients: between images, classes and batches.

An image's gradient that is the same everywhere, or not finite, raises `ValueError`.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from diswot.proxies.passes import watch_relus

__all__ = [
    "condition_number",
    "epe_nas",
    "jacov",
    "linear_regions",
    "row_correlation",
    "tangent_kernel",
    "zico",
]

_FLOOR = 1e-5


def row_correlation(rows: Tensor) -> Tensor:
    """Pearson correlation ``(B, B)`` of every two rows of ``(B, ...)``, in float64.

    The diagonal is exactly one, all is within ±1.

    >>> row_correlation(torch.tensor([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]])).round()
    tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64)
    """
    rows = rows.flatten(1).double()
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(norms).all()):
        raise ValueError("an image's gradient is not finite")
    if bool((norms == 0).any()):
        raise ValueError("an image's gradient is the same everywhere, so nothing correlates")
    unit = centred / norms
    correlation: Tensor = (unit @ unit.T).clamp(-1, 1).fill_diagonal_(1)
    return correlation


def jacov(rows: Tensor) -> Tensor:
    """``−Σ_i [ln(v_i + 1e-5) + 1 / (v_i + 1e-5)]``, v the eigenvalues of the rows' correlation.

    A row is the gradient of the summed logits by an image, ``(B, ...)``; the score, in float64, is
    highest, ``−B``, where no two rows correlate (Mellor et al., first version, 2020).

    >>> jacov(torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))
    tensor(-2.0000, dtype=torch.float64)
    """
    shifted: Tensor = torch.linalg.eigvalsh(row_correlation(rows)).clamp_min(0) + _FLOOR
    return -(shifted.log() + shifted.reciprocal()).sum()


def epe_nas(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Correlation of the Jacobians of one class, over all classes (Lopes et al., ICANN 2021).

    A class scores ``s_c = Σ_ij ln(|corr_ij| + 1e-5)``, its diagonal included. Up to 100 classes
    give ``Σ_c |s_c|``; more give ``Σ_cd |s_c/n_c − s_d/n_d| / #classes``, over the classes with at
    least two images. Rows ``(B, ...)`` are those of `jacov`, labels ``(B,)``; ``num_classes`` are
    those that there are, not those the labels happen to name. In float64.

    Raises:
        ValueError: No class has two images.

    Two images of one class that do not correlate give 2 · ln(1e-5).

    >>> rows = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    >>> epe_nas(rows, labels=torch.tensor([3, 3]), num_classes=10)
    tensor(23.0258, dtype=torch.float64)
    """
    groups = [labels == label for label in sorted(set(labels.tolist()))]
    sizes = [int(group.sum()) for group in groups]
    if max(sizes) < 2:
        raise ValueError(f"no class has two of the {len(labels)} images of the mini-batch")
    logs = (row_correlation(rows).abs() + _FLOOR).log()
    scores = torch.stack([logs[group][:, group].sum() for group in groups])
    if num_classes <= 100:
        return scores.abs().sum()
    counts = torch.tensor(sizes, dtype=scores.dtype, device=scores.device)
    means = (scores / counts)[counts > 1]
    return (means[:, None] - means).abs().sum() / len(means)


def zico(layers: Iterable[Tensor]) -> Tensor:
    """``Σ_layers ln Σ_w mean_i |g_wi| / std_i g_wi``, std the population's, in float64.

    A layer's gradients are ``(N, W)``, a row a batch. Weights whose gradient is the same for all
    batches, and layers without any other, are left out; with no layer left it raises `ValueError`.
    Source: Li et al., "ZiCo", ICLR 2023, equation 16.

    >>> zico([torch.tensor([[1.0, 5.0], [3.0, 5.0]])]).exp()
    tensor(2., dtype=torch.float64)
    """
    logs = []
    for each in layers:
        gradients = each.double()
        spread = (gradients - gradients.mean(dim=0)).square_().mean(dim=0).sqrt_()
        # The mean of equal numbers may be rounded: their spread is not always zero.
        kept = (gradients != gradients[:1]).any(dim=0) & (spread > 0)
        total = (gradients.abs().mean(dim=0)[kept] / spread[kept]).sum()
        if total > 0:
            logs.append(total.log())
    if not logs:
        raise ValueError("no layer has a gradient that changes with the batch")
    return torch.stack(logs).sum()


def tangent_kernel(network: nn.Module, images: Tensor) -> Tensor:
    """Gram matrix of the gradients of each image's summed logits, ``(B, B)`` in float64.

    Taken are the gradients of every parameter called ``weight``, those of BatchNorm included, by
    one backward pass for each of the images ``(B, C, H, W)``; the network is in train mode and its
    running statistics change. Source: Chen et al., "TE-NAS", ICLR 2021.

    >>> tangent_kernel(nn.Linear(2, 1), torch.tensor([[3.0, 0.0], [3.0, 4.0]]))
    tensor([[ 9.,  9.],
            [ 9., 25.]], dtype=torch.float64)
    """
    taken = [p for name, p in network.named_parameters() if name.endswith("weight")]
    with torch.enable_grad():
        totals = network(images).sum(1)
    grad = partial(torch.autograd.grad, inputs=taken, retain_graph=True, allow_unused=True)
    rows = [grad(total) for total in totals]
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=images.device)
    for column in zip(*rows, strict=True):
        if column[0] is not None:
            jacobian = torch.stack([g.flatten() for g in column]).double()
            gram += jacobian @ jacobian.T
    return gram


def condition_number(gram: Tensor) -> Tensor:
    """``λ_max / λ_min`` of a positive semidefinite matrix ``(B, B)``, such as `tangent_kernel`.

    Raises:
        ValueError: It has no full rank to machine precision, or entries that are not finite.

    >>> condition_number(torch.diag(torch.tensor([8.0, 2.0, 4.0])))
    tensor(4.)
    """
    if not gram.isfinite().all():
        raise ValueError("the kernel is not finite")
    values: Tensor = torch.linalg.eigvalsh(gram)
    least, most = values[0], values[-1]
    if least <= len(gram) * torch.finfo(gram.dtype).eps * most:
        raise ValueError("the kernel is singular")
    return most / least


def linear_regions(network: nn.Module, images: Tensor) -> int:
    """How many of the images ``(B, C, H, W)`` differ in which ReLUs of maps are on.

    In train mode the network's running statistics change; without a ReLU module on a map it raises
    `ValueError`. Source: Chen et al., ICLR 2021.

    >>> linear_regions(nn.ReLU(), torch.tensor([1.0, 2.0, -1.0]).view(3, 1, 1, 1))
    2
    """
    active: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 4:
            active.append((inputs[0] > 0).flatten(1))

    with torch.no_grad(), watch_relus(network, record):
        network(images)
    if not active:
        raise ValueError("the network calls no nn.ReLU or nn.ReLU6 module on a map")
    packed = np.packbits(torch.cat(active, dim=1).cpu().numpy(), axis=1)
    return len({row.tobytes() for row in packed})
