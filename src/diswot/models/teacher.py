"""From a teacher's settings to a network with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from diswot.models.build import build_network

__all__ = ["build_teacher"]


def build_teacher(spec: Mapping[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    """Build a teacher; see :func:`~diswot.models.build.build_network`."""
    return build_network(spec, "teacher", num_classes, in_channels)
