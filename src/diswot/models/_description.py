"""Reading what a trained student is, as data that may have been tampered with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from diswot.checks import number, per_channel, whole
from diswot.errors import UserError
from diswot.models.weights import WEIGHTS_FILE
from diswot.runs.files import read_json

__all__ = ["DESCRIPTION_FILE", "read_student"]

DESCRIPTION_FILE = "student.json"
"""What lies beside the weights of a trained student."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    "student": dict,
    "space": (dict, type(None)),
    "num_classes": int,
    "in_channels": int,
    "image_size": int,
    "mean": list,
    "std": list,
    "sha256": str,
}
_LIMITS = {"num_classes": (2, 10**6), "in_channels": (1, 10**4), "image_size": (1, 10**5)}
_REMEDY = "give a run directory of diswot train that has finished"


def read_student(run: str | Path, *, config_dir: str | Path | None = None) -> dict[str, Any]:
    """What ``student.json`` says, after it was checked.

    Args:
        run: A run directory of ``diswot train``.
        config_dir: The folder of further configs.

    Returns:
        What :func:`~diswot.models.saved.describe_student` gives, ``schema`` and ``sha256`` of
        the weights.

    Raises:
        UserError: See :func:`~diswot.models.saved.load_student`.
    """
    folder = Path(run).expanduser()
    file = folder / DESCRIPTION_FILE
    for needed in (file, folder / WEIGHTS_FILE):
        if not needed.is_file():
            raise UserError(f"{folder} holds no {needed.name}; {_REMEDY}")
    description = read_json(file, _REMEDY)
    _check_kinds(file, description)
    _check_harmless(file, description, config_dir)
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    if digest != description["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS_FILE} is not the file {DESCRIPTION_FILE} was written for, it is "
            f"cut off or replaced (its sha256 is {digest}); {_REMEDY}"
        )
    return description


def _check_kinds(file: Path, description: Mapping[str, Any]) -> None:
    if description.get("schema") != 1:
        raise _damaged(file, f"schema is {description.get('schema')!r}, it must be 1")
    for key, kind in _KINDS.items():
        if key not in description or not isinstance(description[key], kind):
            raise _damaged(file, f"{key} is {description.get(key)!r}")
    try:
        for key, (least, most) in _LIMITS.items():
            number(key, whole(key, description[key], least), low=least, high=most)
        for key in ("mean", "std"):
            per_channel(key, description[key], description["in_channels"], positive=key == "std")
    except UserError as error:
        raise _damaged(file, str(error)) from None
    student = description["student"]
    kinds = [kind for key, kind in (("arch", str), ("network", dict)) if key in student]
    if len(kinds) != 1 or not isinstance(student.get("arch", student.get("network")), kinds[0]):
        raise _damaged(file, "student must hold either arch, a text, or network")


def _check_harmless(
    file: Path, description: Mapping[str, Any], config_dir: str | Path | None
) -> None:
    """Objects are made of it: it may name known networks and spaces only, and may not refer."""
    from diswot.config import conf_dir, known_targets

    folders = [conf_dir(), *([Path(config_dir)] if config_dir else [])]
    known = {
        "student": known_targets(f / group for f in folders for group in ("teacher", "student")),
        "space": known_targets(f / "space" for f in folders),
    }
    for key, allowed in known.items():
        _check_node(file, key, description[key], allowed)


def _check_node(file: Path, where: str, node: object, allowed: Collection[str]) -> None:
    for key, value in _entries(node):
        if key == "_target_":
            if not isinstance(value, str) or value not in allowed:
                raise UserError(
                    f"{file}: {where} names {value!r}, which no config folder names for that; "
                    "give the folder of your plug-ins as config_dir"
                )
        elif re.match("_.*_$", key):
            raise _damaged(file, f"{where} holds {key}, which is not allowed")
        if isinstance(value, str) and "${" in value:
            raise _damaged(file, f"{where} refers to {value!r}; only values are allowed")


def _entries(node: object) -> Iterator[tuple[str, object]]:
    """Everything in a node, however deep, with its key; members of lists have none."""
    pairs = node.items() if isinstance(node, Mapping) else ()
    members = node if isinstance(node, list) else ()
    for key, value in (*pairs, *(("", member) for member in members)):
        yield str(key), value
        yield from _entries(value)


def _damaged(file: Path, problem: str) -> UserError:
    return UserError(f"{file} is damaged ({' '.join(problem.split())[:300]}); {_REMEDY}")
