"""Feature maps of network prefixes that several candidates have in common."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PrefixCache"]


class PrefixCache:
    """Remembers maps by what they are a function of; the least recently used go first.

    Equal names and shapes have equal parameters in every candidate and all see the same
    mini-batch, so candidates whose first stages are alike have bit-equal maps there. One cache
    serves one `Scorer` in one process.

    Args:
        limit: Bytes kept.
    """

    def __init__(self, limit: int = 512 * 2**20) -> None:
        self._limit = limit
        self._bytes = 0
        self._maps: OrderedDict[Hashable, Tensor] = OrderedDict()

    def longest(self, keys: Sequence[Hashable]) -> list[Tensor]:
        """The maps of the longest known prefix, shallowest first."""
        found = []
        for key in keys:
            if key not in self._maps:
                break
            self._maps.move_to_end(key)
            found.append(self._maps[key])
        return found

    def store(self, keys: Sequence[Hashable], maps: Sequence[Tensor]) -> None:
        """Keep each map under its key."""
        for key, kept in zip(keys, maps, strict=False):
            if key not in self._maps:
                self._maps[key] = kept
                self._bytes += kept.nbytes
        while self._bytes > self._limit:
            _, oldest = self._maps.popitem(last=False)
            self._bytes -= oldest.nbytes
