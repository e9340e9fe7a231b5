"""``table.yaml``: the settings that make a table of runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

import msgspec

from diswot.errors import UserError

COMMANDS = ("search", "rank", "train")

FIELDS = {
    "correlations": (
        *("space", "init", "teacher", "data", "num_classes"),
        *("proxy", "dataset", "target", "statistic"),
    ),
    "searches": ("space", "teacher", "strategy", "proxy", "dataset", "target", "statistic"),
    "trainings": ("student", "found_by", "teacher", "distiller", "data", "statistic"),
}
"""Kinds of tables, and the fields that tell their figures apart."""

STATISTICS = {
    "correlations": ("spearman", "kendall"),
    "searches": ("accuracy", "rank", "regret", "seconds", "params", "flops"),
    "trainings": ("test_top1", "params", "flops", "images_per_second"),
}

Text = Annotated[str, msgspec.Meta(min_length=1)]
Texts = Annotated[list[str], msgspec.Meta(min_length=1)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a ``table.yaml``.

    Attributes:
        paper: The publication that is compared with, and what of it could not be sourced.
        scale: Of the small runs.
        row: Label of a figure's row, as ``column`` is; ``{proxy}`` stands for that field.
        commands: At full scale, what follows ``python -m diswot.``; ``small`` at small scale.
        runs: Folder of the small runs; empty where there are none.
        where: Fields and the values that enter the table; of other fields all do.
        names: Labels as made, and as shown; rows and columns come in this order.
        conditions: What the scale claims of every run, as settings and their allowed values (one,
            or a list; a setting that is a list itself is a list in the list); below ``search``,
            ``rank`` or ``train`` those of that command alone; ``result.n`` stands for n of
            result.json.
    """

    title: Text
    paper: Text
    scale: Text
    kind: Literal["correlations", "searches", "trainings"]
    row: Text
    column: Text
    commands: list[Text] = []
    small: list[Text] = []
    runs: str = ""
    where: dict[str, str | Texts] = {}
    names: dict[str, Text] = {}
    conditions: dict[str, Any] = {}

    @classmethod
    def load(cls, folder: Path) -> Spec:
        """Read the ``table.yaml`` of a folder; UserError if it is missing or not allowed."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
        from yaml import YAMLError  # type: ignore[import-untyped]

        file = folder / "table.yaml"
        try:  # references to other keys or to the environment stay texts
            content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            return msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            keys = ", ".join(cls.__struct_fields__)
            raise UserError(f"{file}: {error}; its keys are {keys}") from error
        except (OSError, ValueError, YAMLError, OmegaConfBaseException, RecursionError) as error:
            problem = " ".join(str(error).split())[:300]
            raise UserError(f"{file} cannot be read as settings ({problem})") from error

    def __post_init__(self) -> None:
        """Refuse what types do not say, with a ValueError that becomes the message of `load`."""
        for key in ("row", "column"):
            for _, name, form, conversion in Formatter().parse(getattr(self, key)):
                if name is not None and (name not in FIELDS[self.kind] or form or conversion):
                    allowed = ", ".join(f"{{{field}}}" for field in FIELDS[self.kind])
                    raise ValueError(f"{key}: its fields may be {allowed}")
        for command in (*self.commands, *self.small):
            if command.split()[:1] not in [[each] for each in COMMANDS]:
                raise ValueError(f"{command!r}: commands are {', '.join(COMMANDS)}")
        for key, names, known in (
            ("where", self.where, FIELDS[self.kind]),
            ("statistic", _listed(self.where.get("statistic", [])), STATISTICS[self.kind]),
        ):
            if unknown := [name for name in names if name not in known]:
                allowed = ", ".join(known)
                raise ValueError(f"{key}: {unknown[0]} is not known; allowed are {allowed}")
        self.conditions_of("")

    def label(self, template: str, fields: Mapping[str, str]) -> str:
        """The label that a template gives for the fields of a figure, by the name that is shown."""
        label = " ".join(template.format_map(fields).split())
        return self.names.get(label, label)

    def takes(self, fields: Mapping[str, str]) -> bool:
        """Whether a figure with these fields enters the table."""
        return all(fields[name] in _listed(allowed) for name, allowed in self.where.items())

    def conditions_of(self, command: str) -> dict[str, list[str]]:
        """Setting → allowed values, by `as_text`, for a command; ValueError for anything else."""
        own = {c: self.conditions.get(c, {}) for c in COMMANDS}
        if wrong := [name for name, each in own.items() if not isinstance(each, dict)]:
            raise ValueError(f"conditions.{wrong[0]}: give settings and values")
        every = {name: value for name, value in self.conditions.items() if name not in COMMANDS}
        allowed = {}
        for name, value in {**every, **own.get(command, {})}.items():
            listed = value if isinstance(value, list) else [value]
            flat = [x for each in listed for x in (each if isinstance(each, list) else [each])]
            if not listed or any(isinstance(inner, dict | list) for inner in flat):
                raise ValueError(
                    f"conditions.{name}: give the dotted name of a setting, and a value or a list"
                )
            allowed[name] = [as_text(each) for each in listed]
        return allowed


def as_text(value: object) -> str:
    """JSON, in which 1.0 is 1 and true is not."""

    def whole(value: object) -> object:
        if isinstance(value, list):
            return [whole(inner) for inner in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(whole(value), sort_keys=True)


def _listed(values: str | list[str]) -> list[str]:
    return values if isinstance(values, list) else [values]
