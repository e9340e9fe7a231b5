"""The config of a search space, found by its name alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diswot.errors import UserError

__all__ = ["space_node"]


def space_node(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The node of a space, read from the folders of configs.

    Args:
        name: Of a file ``space/<name>.yaml``; not a path.
        folders: Of configs; the first that holds the file counts.

    Returns:
        The node as plain values, with ``_target_`` and ``name``.

    Raises:
        UserError: There is no such space, or its file needs the whole config to be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    file = _file(name, folders)
    try:
        node = OmegaConf.to_container(OmegaConf.load(file), resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read alone ({told}); give space={name}") from None
    if not isinstance(node, dict) or "_target_" not in node or "defaults" in node:
        raise UserError(f"{file} is no whole config of a space by itself; give space={name}")
    return {str(key): value for key, value in node.items()}


def _file(name: str, folders: Sequence[Path]) -> Path:
    found = [file for folder in folders for file in sorted((folder / "space").glob("*.yaml"))]
    if re.fullmatch(r"[A-Za-z0-9_]+", name):  # a name that leads to no other folder
        for file in found:
            if file.stem == name:
                return file
    known = ", ".join(dict.fromkeys(file.stem for file in found)) or "none"
    raise UserError(f"there is no space {name!r}; spaces are: {known}")
