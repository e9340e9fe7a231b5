"""Scores of what one forward pass gives: activations, maps, embedding and logits."""

from typing import cast

import torch
from torch import Tensor, nn

from diswot.models.outputs import Network

__all__ = [
    "activation_agreement",
    "centred_gram",
    "feature_norm",
    "gram_of_samples",
    "log_effective_rank",
    "logit_spread",
    "nwot",
    "zen_score",
]


def feature_norm(embedding: Tensor) -> Tensor:
    """``mean_b ‖p_b‖₂`` of the pooled embedding p, ``(B, C)``, in float64.

    >>> feature_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor(3., dtype=torch.float64)
    """
    return torch.mean(embedding.double().norm(dim=1))


def logit_spread(logits: Tensor) -> Tensor:
    """Mean over images of the population's standard deviation of the logits, ``(B, K)``.

    >>> logit_spread(torch.tensor([[1.0, 3.0], [5.0, -5.0]]))
    tensor(3., dtype=torch.float64)
    """
    return logits.double().std(dim=1, correction=0).mean()


def activation_agreement(inputs: Tensor) -> Tensor:
    """For every two samples, how many units are on in both or off in both.

    ``X Xᵀ + (1 − X)(1 − X)ᵀ`` with ``X = [input > 0]`` of a ReLU's inputs ``(B, ...)``, by one
    matrix product: ``(B, B)`` in float64, exact integers.

    >>> activation_agreement(torch.tensor([[1.0, -1.0, 2.0], [-1.0, 1.0, 3.0]]))
    tensor([[3., 1.],
            [1., 3.]], dtype=torch.float64)
    """
    flat = inputs.movedim(1, -1).flatten(1)  # a view in channels_last; the order is free
    on = torch.gt(flat, 0, out=torch.empty_like(flat))  # exact in float32 below 2²⁴ units
    both = (on @ on.T).double()
    counts = both.diagonal()
    # XXᵀ + (1 − X)(1 − X)ᵀ = 2 XXᵀ − x1ᵀ − 1xᵀ + D with x the number of units that are on
    return 2 * both - counts[:, None] - counts[None, :] + flat.shape[1]


def nwot(kernel: Tensor) -> Tensor:
    """``ln |det K|`` of the `activation_agreement` added over all ReLU calls, ``(B, B)``.

    It is −inf where two samples cannot be told apart (Mellor et al., ICML 2021).

    >>> nwot(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).exp()
    tensor(8.)
    """
    return kernel.slogdet().logabsdet


def centred_gram(features: Tensor) -> Tensor:
    """``A Aᵀ`` of features ``(B, C, H, W)`` or ``(B, D)`` less their mean over samples, ``(B, B)``.

    >>> centred_gram(torch.tensor([[5.0, 1.0], [3.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    flat = features.movedim(1, -1).flatten(1)  # a view in channels_last; the order is free
    centred = flat - flat.mean(0)
    return centred @ centred.T


def gram_of_samples(gram: Tensor, count: int) -> Tensor:
    """The `centred_gram` of ``count`` samples, of one whose rows are windows of them, (B·W)².

    Attention within windows puts the W windows of a sample behind each other, as if they were
    samples. The result is that of each sample's windows side by side. One row, as of a map of
    positions alone, is the same for all samples.

    Raises:
        ValueError: The rows are no multiple of the samples.

    >>> windows = torch.tensor([[5.0], [2.0], [3.0], [4.0]])
    >>> gram_of_samples(centred_gram(windows), 2)
    tensor([[ 2., -2.],
            [-2.,  2.]])
    >>> centred_gram(windows.reshape(2, 2))
    tensor([[ 2., -2.],
            [-2.,  2.]])
    """
    if len(gram) == count:
        return gram
    if len(gram) == 1:
        return gram.new_zeros(count, count)
    if len(gram) % count:
        raise ValueError(f"a layer gives {len(gram)} rows for {count} samples")
    parts = gram.reshape(count, -1, count, len(gram) // count)
    summed = parts.diagonal(dim1=1, dim2=3).sum(-1)
    rows = summed - summed.mean(0)
    return rows - rows.mean(1, keepdim=True)


def log_effective_rank(grams: Tensor) -> Tensor:
    """Entropy of the eigenvalues, normalised to sum to one: the logarithm of the effective rank.

    Of positive semidefinite matrices ``(..., B, B)``, in float64, from 0 to ln B; NaN for a matrix
    of zeros, which has no rank. Source: Roy & Vetterli, "The effective rank: a measure of effective
    dimensionality", EUSIPCO 2007, definition 1.

    >>> log_effective_rank(torch.stack([torch.eye(4), torch.ones(4, 4)])).exp()
    tensor([4.0000, 1.0000], dtype=torch.float64)
    """
    eigenvalues = torch.linalg.eigvalsh(grams.double()).clamp_min(0)
    shares = eigenvalues / eigenvalues.sum(-1, keepdim=True)
    return torch.sum(torch.special.entr(shares), -1)


def zen_score(network: nn.Module, images: Tensor, direction: Tensor) -> Tensor:
    """``ln mean_b Σ_chw |f(x) − f(x + 0.01 z)| + Σ_BN ln √(mean running variance)``.

    f is the map before global average pooling of a `diswot.models.Network` in train mode, x the
    images ``(B, C, H, W)``, z the direction. The running variances are what both passes leave
    behind, a moving average and not the variance of a batch: running statistics that are fresh
    before make the score a function of its arguments.

    Source: Lin et al., "Zen-NAS", ICCV 2021, algorithm 1.

    A network that doubles moves its map by twice the step of 0.01 × 50.

    >>> from diswot.models.outputs import NetworkOutputs
    >>> network, images = nn.Identity(), torch.zeros(1, 1, 1, 1)
    >>> network.outputs = lambda x: NetworkOutputs((2 * x,), (), x, x)
    >>> zen_score(network, images, direction=images + 50).exp()
    tensor(1., dtype=torch.float64)
    """
    with torch.no_grad():
        passes = (images, images + 0.01 * direction)
        here, there = (cast(Network, network).outputs(x).stages[-1].double() for x in passes)
        score = (here - there).abs().flatten(1).sum(1).mean().log()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                score = score + module.running_var.double().mean().sqrt().log()
    return score
