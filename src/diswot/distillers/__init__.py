"""Distillation losses over the outputs of a student and its teacher; lower is better, always."""

from diswot.distillers.base import Distiller, Step

__all__ = ["Distiller", "Step"]
