"""From a teacher's or a student's settings to a network with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from diswot.config import make
from diswot.errors import UserError
from diswot.models.weights import load_weights
from diswot.spaces.base import Space

__all__ = ["build_network", "build_student"]


def build_network(
    spec: Mapping[str, Any], role: str, num_classes: int, in_channels: int
) -> nn.Module:
    """Build a network as a file of ``conf/teacher`` or ``conf/student`` describes it.

    Args:
        spec: ``name``, ``network`` (a node with ``_target_``) and ``weights``, see
            :func:`~diswot.models.weights.load_weights`.
        role: ``teacher`` or ``student``, for messages.
        num_classes: Rows of the classifier; trained weights must have as many.
        in_channels: Channels of the images.

    Returns:
        A module that is a :class:`~diswot.models.outputs.Network`, in training mode.

    Raises:
        UserError: For settings the network refuses or weights that cannot be loaded into it.
    """
    node = f"{role}.network"
    network = make(
        spec["network"], node, nn.Module, num_classes=num_classes, in_channels=in_channels
    )
    _load(network, spec, role, node)
    return network


def build_student(
    spec: Mapping[str, Any],
    space: Mapping[str, Any] | None,
    num_classes: int,
    in_channels: int,
) -> nn.Module:
    """Build a student: an architecture of a space, or a fixed network.

    Args:
        spec: As :func:`~diswot.models.student.resolve_student` leaves it: ``arch`` is the text
            of an architecture; without it as in :func:`build_network`.
        space: The node of the architecture's space.
        num_classes: Rows of the classifier; trained weights must have as many.
        in_channels: Channels of the images.

    Returns:
        A module that is a :class:`~diswot.models.outputs.Network`, in training mode.

    Raises:
        UserError: For settings, an architecture or weights that do not fit.
    """
    if spec.get("arch") is None:
        return build_network(spec, "student", num_classes, in_channels)
    if space is None:
        raise UserError("space: none is given; student.arch needs the space it is of")
    made = make(space, "space", Space)  # type: ignore[type-abstract]
    arch = made.parse(str(spec["arch"]))
    network = made.build(arch, num_classes=num_classes, in_channels=in_channels)
    _load(network, spec, "student", "space")
    return network


def _load(network: nn.Module, spec: Mapping[str, Any], role: str, node: str) -> None:
    weights = str(spec.get("weights", "none"))
    load_weights(network, weights, name=spec["name"], setting=f"{role}.weights", node=node)
