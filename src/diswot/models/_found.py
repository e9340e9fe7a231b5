"""What a search found, read from its ``result.json`` as data that may have been tampered with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diswot.errors import UserError
from diswot.models.cost import count_params
from diswot.runs.files import read_json
from diswot.spaces.base import Space

__all__ = ["Found"]

_CHANNELS = (3, 1)
"""Of images, where a result does not say it: colour, grey."""


@dataclass(frozen=True)
class Found:
    """The names in the result of a search, and the numbers to check them by.

    Attributes:
        file: The ``result.json``.
        space: Name of the search space.
        arch: Text of the best architecture.
        params: Its trainable parameters.
        num_classes: Rows of the classifier they were counted with.
        in_channels: Channels of the images they may have been counted with.
    """

    file: Path
    space: str
    arch: str
    params: int
    num_classes: int
    in_channels: tuple[int, ...]

    @classmethod
    def read(cls, run: str | Path) -> Found:
        """Read the result of a run directory of ``diswot search``.

        Raises:
            UserError: No search has finished there, or its result is not what a search writes.
        """
        file = _result_file(Path(run).expanduser())
        result = read_json(file, _REMEDY)
        if "student" in result and "arch" not in result:
            raise UserError(f"student.run: {run} is the run of a training; give that of a search")
        _whole(file, result, "schema", 1, 1)
        found = cls(
            file,
            space=_text(file, result, "space"),
            arch=_text(file, result, "arch"),
            params=_whole(file, result, "params", 1),
            num_classes=_whole(file, result, "num_classes", 2, 10**6),
            in_channels=(
                (_whole(file, result, "in_channels", 1, 10**4),)
                if "in_channels" in result
                else _CHANNELS
            ),
        )
        _check_first(file, found, result.get("top"))
        return found

    def check(self, space: Space) -> None:
        """Compare the architecture with the space it is said to be of.

        Raises:
            UserError: It is not of this space, or has another number of parameters.
        """
        if space.name != self.space:
            raise UserError(
                f"space={space.name}: {self.file} was found in space {self.space}; "
                f"give space={self.space}, or none"
            )
        try:
            arch = space.parse(self.arch)
        except UserError as error:
            raise _damaged(self.file, f"{error}") from None
        counted = []
        for channels in self.in_channels:
            with torch.device("meta"):
                network = space.build(arch, num_classes=self.num_classes, in_channels=channels)
            counted.append(count_params(network))
        if self.params not in counted:
            raise UserError(
                f"{self.file}: params is {self.params}, but {self.arch} with {self.num_classes} "
                f"classes has {' or '.join(map(str, counted))}; if the search had settings of "
                f"space {self.space} changed, give the same ones here, else {_REMEDY}"
            )


_REMEDY = "run the same search again in a new folder"


def _result_file(run: Path) -> Path:
    file = run / "result.json"
    if file.is_file():
        return file
    if not run.is_dir():
        problem = "is a file" if run.exists() else "does not exist"
        raise UserError(f"student.run: {run} {problem}; give the run directory of a search")
    if (run / "candidates.jsonl").is_file():
        raise UserError(
            f"student.run: the search in {run} has not finished, it has no result.json; "
            "run its command again, which goes on from there"
        )
    raise UserError(
        f"student.run: {run} holds no result.json; give the run directory of a diswot search"
    )


def _check_first(file: Path, found: Found, top: object) -> None:
    first = top[0] if isinstance(top, list) and top else None
    if not isinstance(first, Mapping):
        raise _damaged(file, "top must list the best candidates")
    for key, value in (("arch", found.arch), ("params", found.params)):
        if first.get(key) != value:
            raise _damaged(file, f"{key} is {value!r}, but the first of top has {first.get(key)!r}")


def _text(file: Path, result: Mapping[str, Any], key: str) -> str:
    value = result.get(key)
    if not isinstance(value, str) or not value:
        raise _damaged(file, f"{key} is {value!r}, it must be a text")
    return value


def _whole(
    file: Path, result: Mapping[str, Any], key: str, least: int, most: int | None = None
) -> int:
    value = result.get(key)
    if type(value) is not int or value < least or (most is not None and value > most):
        limit = f"from {least} to {most}" if most else f"of at least {least}"
        allowed = f"{least}" if least == most else f"a whole number {limit}"
        raise _damaged(file, f"{key} is {value!r}, it must be {allowed}")
    return value


def _damaged(file: Path, problem: str) -> UserError:
    return UserError(f"{file} is damaged ({' '.join(problem.split())[:300]}); {_REMEDY}")
