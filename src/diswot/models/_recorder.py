"""The hooks that record what happens inside an adapted network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from diswot.errors import UserError

_ACTIVATION_HOMES = ("torch.nn.modules.activation", "timm.layers.activations")


@dataclass(frozen=True)
class _Activation:
    """One run of an activation module: its input, its output, and the output's version."""

    entered: Tensor
    left: Tensor
    version: int

    def gave(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is the output, and nothing was added to it in place since."""
        return tensor is self.left and _version(tensor) == self.version


class Recorder:
    """Hooks of one forward pass, and what they saw.

    Where something downstream may overwrite a recorded tensor in place, the tensor itself is kept
    and a copy passed on: what is recorded stays on the way to the logits, so gradients reach it.
    """

    def __init__(self) -> None:
        self._stages: dict[str, tuple[Tensor, Tensor]] = {}
        self._embedding: Tensor | None = None
        self._entered: Tensor | None = None
        self._activation: _Activation | None = None

    def enter_activation(self, module: nn.Module, args: tuple[Tensor, ...]) -> Any:
        """Before an activation: keep its input."""
        self._entered = args[0]
        return (args[0].clone(), *args[1:]) if getattr(module, "inplace", False) else None

    def leave_activation(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """After an activation: it is the last one so far."""
        if self._entered is not None:
            self._activation = _Activation(self._entered, output, _version(output))

    def leave_stage(self, path: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        """The hook to run after the stage at ``path``."""

        def hook(module: nn.Module, args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim != 4:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise UserError(f"network.stages: {path!r} gives {got}, not a (B, C, H, W) map")
            passed_on = output.clone()
            before = output
            if self._activation is not None and self._activation.gave(output):
                before = self._activation.entered
                # An enclosing stage may end in the same activation.
                self._activation = _Activation(before, passed_on, _version(passed_on))
            self._stages[path] = (before, output)
            return passed_on

        return hook

    def enter_classifier(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Before the classifier: keep its input, flattened."""
        self._embedding = args[0].flatten(1)

    def stage(self, path: str) -> tuple[Tensor, Tensor]:
        """Preactivation and map of a stage; UserError where it did not run."""
        if path not in self._stages:
            raise UserError(f"network.stages: {path!r} did not run in the forward pass")
        return self._stages[path]

    def embedding(self, path: str) -> Tensor:
        """Input of the classifier; UserError where it did not run."""
        if self._embedding is None:
            raise UserError(f"network.classifier: {path!r} did not run in the forward pass")
        return self._embedding


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation function of torch or timm, or derives from one."""
    homes = {parent.__module__ for parent in type(module).__mro__}
    return not isinstance(module, nn.MultiheadAttention) and not homes.isdisjoint(_ACTIVATION_HOMES)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; unknown (0) under ``torch.inference_mode``."""
    return 0 if tensor.is_inference() else tensor._version
