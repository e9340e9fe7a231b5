"""Which student a config means: a fixed network, an architecture of a space, or a search's find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diswot.config import make
from diswot.errors import UserError
from diswot.models._description import read_student
from diswot.models._found import Found
from diswot.models.build import build_student
from diswot.models.saved import describe_student, load_student, save_student
from diswot.spaces.base import Space
from diswot.spaces.by_name import space_node

__all__ = [
    "build_student",
    "describe_student",
    "load_student",
    "read_student",
    "resolve_student",
    "save_student",
]


def resolve_student(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Fill in what a config says of its student only by reference.

    Of a search's result nothing but the names of space and architecture are used, after they were
    checked; which class a space is, only the folders of configs say.

    Args:
        config: Resolved, with ``student`` and, where one is given, ``space``.
        folders: Of configs.

    Returns:
        The config with ``space``, None for a fixed network, and ``student.arch`` filled in.

    Raises:
        UserError: A setting is missing or does not fit, or what a search found does not hold.
    """
    student, space = config["student"], config.get("space")
    if "run" in student:
        return _searched(config, student, space, folders)
    if "arch" in student:
        _check_arch(student, space)
    elif space is not None:
        raise UserError(
            f"space={space.get('name')}: student={student['name']} is a fixed network; leave the "
            "space out, or give student=arch or student=searched"
        )
    return {**config, "space": space}


def _searched(
    config: Mapping[str, Any],
    student: Mapping[str, Any],
    space: Mapping[str, Any] | None,
    folders: Sequence[Path],
) -> dict[str, Any]:
    if not student["run"]:
        raise UserError("student.run: not given; give the run directory of a diswot search")
    found = Found.read(str(student["run"]))
    if space is None:
        try:
            space = space_node(found.space, folders)
        except UserError as error:
            raise UserError(f"{found.file}: {error}") from None
    found.check(make(space, "space", Space))  # type: ignore[type-abstract]
    return {**config, "space": dict(space), "student": {**student, "arch": found.arch}}


def _check_arch(student: Mapping[str, Any], space: Mapping[str, Any] | None) -> None:
    if space is None:
        raise UserError(
            f"space: none is given; student={student['name']} needs the space of its "
            "architecture, as space=s0"
        )
    if not student["arch"]:
        raise UserError(
            f"student.arch: not given; give the text of an architecture of {space.get('name')}"
        )
    made = make(space, "space", Space)  # type: ignore[type-abstract]
    try:
        made.parse(str(student["arch"]))
    except UserError as error:
        raise UserError(f"student.arch: {error}") from None
