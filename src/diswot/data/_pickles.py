"""Reader of pickles that runs no code of theirs."""

import pickle
from collections.abc import Mapping
from typing import IO, Any

__all__ = ["DAMAGE", "load_pickle"]

DAMAGE = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)
"""What a damaged pickle, or one of another form, raises."""


class _Restricted(pickle.Unpickler):
    def __init__(
        self, file: IO[bytes], allowed: Mapping[tuple[str, str], Any], encoding: str
    ) -> None:
        super().__init__(file, encoding=encoding)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        stand_in = self._allowed[module, name]
        return super().find_class(module, name) if stand_in is None else stand_in


def load_pickle(
    file: IO[bytes], allowed: Mapping[tuple[str, str], Any], encoding: str = "ASCII"
) -> Any:
    """Read plain values and what is allowed; nothing else is imported or called.

    Args:
        file: an open binary file.
        allowed: by (module, name) what stands in for it, or None for the thing itself.
        encoding: of the byte strings that Python 2 wrote.

    Raises:
        UnpicklingError: it asks for something that is not allowed; a damaged file can raise
            any of ``DAMAGE``.
    """
    return _Restricted(file, allowed, encoding).load()
