"""``table.yaml``: how a table is made of runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Any

from diswot.errors import UserError

__all__ = ["COMBINED", "FIELDS", "STATISTICS", "Spec"]

FIELDS = {
    "correlations": (
        *("space", "init", "teacher", "data", "num_classes"),
        *("proxy", "dataset", "target", "statistic"),
    ),
    "searches": ("space", "teacher", "strategy", "proxy", "dataset", "target", "statistic"),
    "trainings": ("student", "found_by", "teacher", "distiller", "data", "statistic"),
}
"""Kinds of tables, and what a record of each is told apart by."""

STATISTICS = {
    "correlations": ("spearman", "kendall"),
    "searches": ("accuracy", "rank", "regret", "seconds", "params", "flops"),
    "trainings": ("test_top1", "params", "flops", "images_per_second"),
}

COMBINED = ("sum", "rank", "zscore")
"""How scores are added: as they are, as ranks, or standardised; see `diswot.proxies.combine`."""

_COMMANDS = ("search", "rank", "train")
_NEEDED = ("title", "paper", "scale", "kind", "row", "column")


@dataclass(frozen=True)
class Spec:
    """What a ``table.yaml`` says.

    Attributes:
        title: One line.
        paper: What is compared with, and what of it could not be sourced.
        scale: Of the small runs.
        kind: Of `FIELDS`.
        row: Label of a record's row; ``{proxy}`` stands for that field.
        column: Label of its column.
        commands: At full scale, what follows ``python -m diswot.``.
        small: The same at small scale.
        runs: Folder of the small runs.
        where: Fields and the values that enter the table; of other fields all do.
        names: Labels as made, and as shown; rows and columns come in this order.
        sums: Names of summed scores, and how (`COMBINED`) which proxies are added.
    """

    title: str
    paper: str
    scale: str
    kind: str
    row: str
    column: str
    commands: tuple[str, ...]
    small: tuple[str, ...]
    runs: str
    where: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    sums: Mapping[str, tuple[str, tuple[str, ...]]]

    @classmethod
    def load(cls, folder: Path) -> Spec:
        """Read the ``table.yaml`` of a folder.

        Raises:
            UserError: There is none, or it says what is not allowed.
        """
        file = folder / "table.yaml"
        read = _Reader(file, _content(file))
        read.check_keys([field.name for field in fields(cls)])
        kind = read.text("kind")
        if kind not in FIELDS:
            raise read.wrong("kind", kind, f"allowed are {', '.join(FIELDS)}")
        return cls(
            title=read.text("title"),
            paper=read.text("paper"),
            scale=read.text("scale"),
            kind=kind,
            row=read.template("row", FIELDS[kind]),
            column=read.template("column", FIELDS[kind]),
            commands=read.commands("commands"),
            small=read.commands("small"),
            runs=read.text("runs", required=False),
            where=read.where(kind),
            names=read.names(),
            sums=read.sums(kind),
        )

    def label(self, template: str, record: Mapping[str, str]) -> str:
        """What a template gives for the fields of a record, by the name that is shown."""
        label = " ".join(template.format_map(record).split())
        return self.names.get(label, label)

    def takes(self, record: Mapping[str, str]) -> bool:
        """Whether the record enters the table."""
        return all(record[field] in allowed for field, allowed in self.where.items())


def _content(file: Path) -> dict[str, Any]:
    """Plain values; references to other keys or to the environment stay texts."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"{file} cannot be read as settings ({problem})") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is a list; it must hold settings such as title and kind")
    return {str(key): value for key, value in content.items()}


class _Reader:
    """Takes settings out of a file, and refuses those that are not allowed."""

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self._file = file
        self._content = content

    def wrong(self, key: str, value: object, allowed: str) -> UserError:
        return UserError(f"{self._file}: {key}: {value} is not allowed; {allowed}")

    def check_keys(self, known: Collection[str]) -> None:
        for key in self._content:
            if key not in known:
                raise UserError(f"{self._file}: unknown key {key}; allowed are {', '.join(known)}")
        for key in _NEEDED:
            if key not in self._content:
                raise UserError(f"{self._file}: {key} is missing")

    def text(self, key: str, *, required: bool = True) -> str:
        value = self._content.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, value, "give a text")
        return " ".join(value.split())

    def template(self, key: str, known: Collection[str]) -> str:
        template = self.text(key)
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise self.wrong(key, template, f"give a text with {{fields}} ({error})") from error
        for _, field, form, conversion in parts:
            if field is not None and (field not in known or form or conversion):
                allowed = ", ".join(f"{{{name}}}" for name in known)
                raise self.wrong(key, template, f"its fields may be {allowed}")
        return template

    def commands(self, key: str) -> tuple[str, ...]:
        commands = self._texts(key, self._content.get(key) or [])
        for command in commands:
            if command.split()[0] not in _COMMANDS:
                raise self.wrong(key, command, f"commands are {', '.join(_COMMANDS)}")
        return commands

    def where(self, kind: str) -> dict[str, tuple[str, ...]]:
        filters = {}
        for field, values in self._mapping("where").items():
            if field not in FIELDS[kind]:
                raise self.wrong("where", field, f"fields are {', '.join(FIELDS[kind])}")
            filters[field] = self._texts(f"where.{field}", values)
        for name in filters.get("statistic", ()):
            if name not in STATISTICS[kind]:
                known = ", ".join(STATISTICS[kind])
                raise self.wrong("where.statistic", name, f"statistics are {known}")
        return filters

    def names(self) -> dict[str, str]:
        return {raw: self._label(raw, shown) for raw, shown in self._mapping("names").items()}

    def sums(self, kind: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        found = self._mapping("sums")
        if found and kind != "correlations":
            raise self.wrong("sums", ", ".join(found), "only kind correlations adds scores")
        sums = {}
        for name, terms in found.items():
            how, proxies = next(iter(terms.items())) if isinstance(terms, dict) else ("sum", terms)
            if how not in COMBINED or (isinstance(terms, dict) and len(terms) != 1):
                allowed = f"give proxies, or one of {', '.join(COMBINED)} with proxies"
                raise self.wrong(f"sums.{name}", terms, allowed)
            sums[name] = how, self._texts(f"sums.{name}", proxies)
        return sums

    def _label(self, raw: str, shown: object) -> str:
        if not isinstance(shown, str) or not shown.strip():
            raise self.wrong(f"names.{raw}", shown, "give a text")
        return shown

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self._content.get(key) or {}
        if not isinstance(value, dict):
            raise self.wrong(key, value, "give names and values")
        return {str(name): inner for name, inner in value.items()}

    def _texts(self, key: str, values: object) -> tuple[str, ...]:
        listed = values if isinstance(values, list) else [values]
        texts = tuple(str(value).strip() for value in listed if not isinstance(value, dict | list))
        if len(texts) != len(listed) or not all(texts):
            raise self.wrong(key, values, "give a text, or a list of texts")
        return texts
