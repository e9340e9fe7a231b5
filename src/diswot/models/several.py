"""Several networks as one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import positive
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs

Weighting = str | Sequence[float]


class SeveralNetworks(nn.Module):
    """A `Network` whose logits are a weighted mean of those of others; all else is the first one's.

    The mean is of logits, so the prediction is the geometric mean of theirs, normalised, one of the
    two means that Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, name for
    ensembles. It is the same at every temperature, which the arithmetic mean of softened
    predictions is not.

    Args:
        members: At least two networks of one number of classes.
        weighting: ``mean``; ``confidence``, see `confidence`; or a positive number a member, which
            are divided by their sum.
        own_weights: What the config calls the members' weights.

    Raises:
        UserError: A single member, or a weighting that is not allowed.
    """

    def __init__(
        self, members: Sequence[nn.Module], weighting: Weighting = "mean", own_weights: str = "none"
    ) -> None:
        super().__init__()
        if len(members) < 2:
            raise UserError(f"teacher.members: {len(members)} given; give at least two")
        self.members = nn.ModuleList(members)
        self.own_weights = own_weights
        self.shares = _shares(weighting, len(members))
        """Of the members; None: by their confidence."""

    @property
    def classifier(self) -> nn.Linear:
        """The first member's."""
        return cast(Network, self.members[0]).classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)``."""
        return self._mean([member(images) for member in self.members])

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`; stages and embedding are the first member's."""
        first = cast(Network, self.members[0]).outputs(images)
        others = [member(images) for member in self.members[1:]]
        return replace(first, logits=self._mean([first.logits, *others]))

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        together = torch.stack(list(logits))
        if self.shares is None:
            shares = confidence(together)
        else:
            shares = together.new_tensor(self.shares).unsqueeze(1)
        return (shares.unsqueeze(2) * together).sum(0)


def confidence(logits: Tensor) -> Tensor:
    """Weight of each of M networks for each image: ``(1 − softmax_m H) / (M − 1)``, ``(M, B)``.

    H is the entropy of the prediction, in nats, of logits ``(M, B, K)``; weights of an image add up
    to 1. The form is that of Zhang et al., "Confidence-Aware Multi-Teacher Knowledge Distillation",
    ICASSP 2022, with the entropy, as in Kwon et al., "Adaptive Knowledge Distillation Based on
    Entropy", ICASSP 2020, for the cross-entropy with the labels, which no teacher is shown.

    >>> confidence(torch.tensor([[[0.0, 0.0]], [[0.0, 100.0]]])).T
    tensor([[0.3333, 0.6667]])
    """
    log = logits.log_softmax(2)
    entropy = -(log.exp() * log).sum(2)
    return (1 - entropy.softmax(0)) / (len(logits) - 1)


def _shares(weighting: Weighting, count: int) -> list[float] | None:
    if weighting == "confidence":
        return None
    given = [1.0] * count if weighting == "mean" else weighting
    if isinstance(given, str) or len(given) != count:
        raise UserError(
            f"teacher.weighting={weighting}: give mean, confidence, or {count} numbers, one each"
        )
    shares = [positive("teacher.weighting", share) for share in given]
    return [share / sum(shares) for share in shares]
