"""Reads ``table.yaml`` as plain values, whoever wrote it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from diswot.errors import UserError

__all__ = ["read_settings"]

_LARGEST = 64 * 1024  # bytes
_DEEPEST = 8  # levels


def read_settings(file: Path) -> dict[str, Any]:
    """Plain values; references to other keys or to the environment stay texts.

    Args:
        file: YAML, without anchors and aliases, which can stand for any amount of memory.

    Raises:
        UserError: It cannot be read, or is larger or deeper than a table's settings are.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        text = _text(file)
        _check_events(file, text)
        content = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, RecursionError) as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"{file} cannot be read as settings ({problem})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is a list; it must hold settings such as title and kind")
    return {str(key): value for key, value in content.items()}


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UserError(f"{file} is larger than {_LARGEST // 1024} kB; no table's settings are")
    return content.decode()


def _check_events(file: Path, text: str) -> None:
    """Refuse what would grow, or nest, when it is put together; nothing is built here."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if getattr(event, "anchor", None) is not None:
            line = event.start_mark.line + 1
            raise UserError(f"{file}, line {line}: anchors and aliases are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise UserError(f"{file} is nested deeper than {_DEEPEST} levels")
