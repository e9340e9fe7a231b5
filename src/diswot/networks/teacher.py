"""From a teacher's settings to a network with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from diswot.instantiate import make
from diswot.networks.weights import load_weights

__all__ = ["build_teacher"]


def build_teacher(spec: Mapping[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    """Build a teacher as a file of ``conf/teacher`` describes it.

    Args:
        spec: ``name``, ``network`` (a node with ``_target_``) and ``weights``, see
            :func:`~diswot.networks.weights.load_weights`.
        num_classes: Rows of the classifier; trained weights must have as many.
        in_channels: Channels of the images.

    Returns:
        A module that is a :class:`~diswot.networks.outputs.Network`, in training mode.

    Raises:
        UserError: For settings the network refuses or weights that cannot be loaded into it.
    """
    network = make(
        spec["network"],
        "teacher.network",
        nn.Module,
        num_classes=num_classes,
        in_channels=in_channels,
    )
    load_weights(network, str(spec["weights"]), teacher=spec["name"])
    return network
