"""A module around another one that keeps its names."""

from typing import Self

from torch import nn

_REGISTRIES = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


class SharedModule(nn.Module):
    """Shares the registries of a model instead of holding the model as a child.

    So names of parameters, buffers and children are the model's own, without a prefix, and whatever
    is loaded, moved, drawn or replaced through one is so in the other.
    """

    _model: nn.Module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.__dict__.update({name: getattr(model, name) for name in _REGISTRIES}, _model=model)
        self.training = model.training

    def get_submodule(self, target: str) -> nn.Module:
        """The model's module at a path, also where this class has a property of that name."""
        return self._model.get_submodule(target)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this module and of the model."""
        self._model.train(mode)
        self.training = mode
        return self
