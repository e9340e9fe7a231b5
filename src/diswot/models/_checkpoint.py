"""Reading checkpoint files without ever running their code."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from diswot.errors import UserError

SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_WRAPPERS = ("state_dict", "model")
# What torch.load raises for files that are cut off or damaged, seen by damaging some.
DAMAGED = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


def read_file(path: Path) -> object:
    """The content of a ``.pt``, ``.pth``, ``.bin`` or ``.safetensors`` file, on the CPU.

    Raises:
        UserError: For another suffix, and for a file that is damaged or holds more than tensors.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} must end in one of {', '.join(SUFFIXES)}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # of the pickle protocol, before it refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is damaged, or holds objects other than tensors, which could "
            "run code and are never loaded; save a state dict"
        ) from None
    except DAMAGED as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read, it may be damaged or cut off ({one_line(error)})")


def state_dict_of(content: object, weights: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, out of a ``state_dict`` or ``model`` wrapper if any.

    Args:
        content: What the file or the download held.
        weights: Where it came from, for messages.

    Raises:
        UserError: For anything but names and tensors.
    """
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{weights} holds no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(
                f"{weights} is no state dict; {one_line(name)!r} is a "
                f"{type(value).__name__}, not a tensor"
            )
    return dict(content)


def one_line(value: object) -> str:
    """The text of a value on one line of at most 200 characters."""
    return " ".join(str(value).split())[:200]
