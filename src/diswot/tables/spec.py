"""``table.yaml``: how a table is made of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from diswot.tables.conditions import Conditions
from diswot.tables.plain_yaml import read_settings
from diswot.tables.schema import COMBINED, FIELDS, STATISTICS, Reader

__all__ = ["COMBINED", "FIELDS", "STATISTICS", "Spec"]


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
        conditions: What the scale claims of every run, as settings and their allowed values (one,
            or a list); below ``search``, ``rank`` or ``train`` those of that command alone;
            ``result.n`` stands for n of result.json.
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
    conditions: Conditions

    @classmethod
    def load(cls, folder: Path) -> Spec:
        """Read the ``table.yaml`` of a folder.

        Raises:
            UserError: There is none, or it says what is not allowed.
        """
        file = folder / "table.yaml"
        read = Reader(file, read_settings(file))
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
            conditions=read.conditions(),
        )

    def label(self, template: str, record: Mapping[str, str]) -> str:
        """What a template gives for the fields of a record, by the name that is shown."""
        label = " ".join(template.format_map(record).split())
        return self.names.get(label, label)

    def takes(self, record: Mapping[str, str]) -> bool:
        """Whether the record enters the table."""
        return all(record[field] in allowed for field, allowed in self.where.items())
