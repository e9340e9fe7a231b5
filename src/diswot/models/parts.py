"""Modules that networks have in common, made once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


class PartMaker(Protocol):
    """Gives a network its parts, by their full names such as ``layer1.0``."""

    def __call__(self, name: str, make: Callable[..., M], *args: Any, **settings: Any) -> M:
        """``make(*args, **settings)``, of which no other network in use is made."""


def new_part(name: str, make: Callable[..., M], *args: Any, **settings: Any) -> M:
    """The `PartMaker` of a network of its own."""
    return make(*args, **settings)


class _Kept(NamedTuple):
    module: nn.Module
    norms: list[nn.modules.batchnorm._NormBase]
    bytes: int


class Parts:
    """A `PartMaker` that keeps what it made; the least recently used parts go first.

    Parts of equal name, maker and arguments are the same module, with fresh running statistics,
    so only one network of them may be in use at a time. ``prepare`` is called once with every new
    part and its name, to give it parameters and move it; at most ``limit`` bytes of parameters are
    kept beside those of the last network.
    """

    def __init__(
        self, prepare: Callable[[str, nn.Module], object], limit: int = 256 * 2**20
    ) -> None:
        self._prepare, self._limit, self._bytes = prepare, limit, 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __call__(self, name: str, make: Callable[..., M], *args: Any, **settings: Any) -> M:
        """See `PartMaker`; arguments are hashable."""
        key = (name, make, args, *settings.items())
        if kept := self._kept.get(key):
            self._kept.move_to_end(key)
            for norm in kept.norms:
                norm.reset_running_stats()
            return kept.module  # type: ignore[return-value]
        module = make(*args, **settings)
        self._prepare(name, module)
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        size = sum(parameter.nbytes for parameter in module.parameters())
        self._kept[key] = _Kept(module, norms, size)
        self._bytes += size
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].bytes
        return module
