"""A linear probe: a classifier for the classes of the data on what a teacher's weights give.

The teacher stays as it is; a multinomial logistic regression on its embeddings takes the place of
its classifier (Alain & Bengio, "Understanding intermediate layers using linear classifier probes",
2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from diswot.data.base import LabelledImages
from diswot.data.training import Batch, Batches
from diswot.errors import UserError
from diswot.models.outputs import Network
from diswot.scoring.runtime import Runtime

_CONSTANT = 1e-6  # share of the largest deviation below which a feature counts as constant
_HISTORY = 20  # steps that L-BFGS remembers
_EVALUATIONS = 25  # of the loss in a step, at most


@dataclass(frozen=True)
class Embedded:
    """Embeddings ``(N, C)``, float32, and labels ``(N,)`` of the images of a split."""

    embeddings: Tensor
    labels: Tensor


def batches_of(images: LabelledImages, batch_size: int, workers: int) -> DataLoader[Batch]:
    """All images of a split in their order, as they are evaluated."""
    source = Batches(images, torch.arange(len(images)), batch_size)
    places = [(0, number) for number in range(source.count)]
    return DataLoader(source, batch_size=None, sampler=places, num_workers=workers)


@torch.no_grad()
def embedded(network: nn.Module, batches: Iterable[Batch], runtime: Runtime) -> Embedded:
    """What a `Network` gives for the images, in eval mode; it stays on the runtime's device.

    Raises:
        UserError: The embeddings are not finite.
    """
    runtime.place(network).eval()
    embeddings, labels = [], []
    for images, classes, _ in batches:
        placed = images.to(runtime.device, memory_format=torch.channels_last)
        with runtime.autocast():
            outputs = cast(Network, network).outputs(placed)
        embeddings.append(outputs.embedding.float().cpu())
        labels.append(classes.cpu())
    found = Embedded(torch.cat(embeddings), torch.cat(labels))
    if not found.embeddings.isfinite().all():
        raise UserError("teacher: its embeddings of the training images are not finite")
    return found


@dataclass(frozen=True)
class Fit:
    """A linear classifier: ``weight`` ``(K, C)`` and ``bias`` ``(K,)``, float32, on the CPU.

    ``steps`` of L-BFGS led there; ``converged`` says whether the gradient had vanished then.
    """

    weight: Tensor
    bias: Tensor
    steps: int
    converged: bool


def fitted(
    given: Embedded,
    num_classes: int,
    *,
    l2: float,
    max_steps: int,
    tolerance: float = 1e-4,
    device: str = "cpu",
    on_step: Callable[[int, float], object] = lambda step, loss: None,
) -> Fit:
    """Multinomial logistic regression on standardised embeddings.

    It minimises ``mean CE(W x + b, y) + l2 / 2 · ‖W‖²`` over W and b from zero, where x has mean 0
    and deviation 1 in every feature, by full-batch L-BFGS with the strong Wolfe line search, in
    float64: a convex problem, in which nothing is drawn. The standardisation is then folded into
    the layer, which takes embeddings as they are. It ends where no value of the gradient is above
    the ``tolerance``; ``on_step`` is told of every step, from 1, and the loss before it.

    Raises:
        UserError: All images have the same embedding.
    """
    mean = given.embeddings.double().mean(0)
    std = given.embeddings.double().std(0, correction=0)
    if not std.max() > 0:
        raise UserError("teacher: all training images have the same embedding")
    std = std.clamp_min(_CONSTANT * float(std.max()))
    x = ((given.embeddings - mean) / std).to(device)
    y = given.labels.to(device)
    weight = torch.zeros(num_classes, x.shape[1], dtype=x.dtype, device=device, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=x.dtype, device=device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=1,  # a step at a time
        max_eval=_EVALUATIONS,  # by default max_iter · 5 / 4, which leaves none for a search
        history_size=_HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.T + bias, y) + l2 / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def vanished() -> bool:
        loss()
        gradients = [cast(Tensor, each.grad) for each in (weight, bias)]
        return all(float(each.abs().max()) <= tolerance for each in gradients)

    step, converged = 0, vanished()
    while step < max_steps and not converged:
        step += 1
        before = optimizer.step(loss)  # type: ignore[no-untyped-call]
        on_step(step, float(before.detach()))
        converged = vanished()
    own_weight = weight.detach().cpu() / std
    own_bias = bias.detach().cpu() - own_weight @ mean
    return Fit(own_weight.float(), own_bias.float(), step, converged)


@torch.no_grad()
def put_in(network: nn.Module, fit: Fit) -> None:
    """Make it the classifier of a `Network`, in place.

    Raises:
        UserError: The classifier has no bias.
    """
    classifier = cast(Network, network).classifier
    if classifier.bias is None:
        raise UserError("teacher.network: its classifier has no bias, which a probe needs")
    classifier.weight.copy_(fit.weight)
    classifier.bias.copy_(fit.bias)


def top1(fit: Fit, given: Embedded) -> float:
    """Top-1 accuracy in percent of a classifier on embeddings."""
    right = (given.embeddings @ fit.weight.T + fit.bias).argmax(1) == given.labels
    return 100 * float(right.float().mean())
