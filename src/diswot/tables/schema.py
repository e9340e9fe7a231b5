"""What ``table.yaml`` may say, and the messages about what it may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from diswot.errors import UserError
from diswot.tables.conditions import COMMANDS, as_text

__all__ = ["COMBINED", "FIELDS", "STATISTICS", "Reader"]

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

_NEEDED = ("title", "paper", "scale", "kind", "row", "column")


class Reader:
    """Takes settings out of a file, and refuses those that are not allowed."""

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self._file = file
        self._content = content

    def wrong(self, key: str, value: object, allowed: str) -> UserError:
        """The message about a value."""
        return UserError(f"{self._file}: {key}: {value} is not allowed; {allowed}")

    def check_keys(self, known: Collection[str]) -> None:
        """Refuse unknown keys, and that a needed one is missing."""
        for key in self._content:
            if key not in known:
                raise UserError(f"{self._file}: unknown key {key}; allowed are {', '.join(known)}")
        for key in _NEEDED:
            if key not in self._content:
                raise UserError(f"{self._file}: {key} is missing")

    def text(self, key: str, *, required: bool = True) -> str:
        """On one line; empty where it is left out."""
        value = self._content.get(key)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, value, "give a text")
        return " ".join(value.split())

    def template(self, key: str, known: Collection[str]) -> str:
        """A text with fields of a record in braces."""
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
        """What follows ``python -m diswot.``."""
        commands = self._texts(key, self._content.get(key) or [])
        for command in commands:
            if command.split()[0] not in COMMANDS:
                raise self.wrong(key, command, f"commands are {', '.join(COMMANDS)}")
        return commands

    def where(self, kind: str) -> dict[str, tuple[str, ...]]:
        """Field → values that enter the table."""
        filters = {}
        for field, values in self._mapping("where").items():
            if field not in FIELDS[kind]:
                raise self.wrong("where", field, f"fields are {', '.join(FIELDS[kind])}")
            filters[field] = self._some_texts(f"where.{field}", values)
        for name in filters.get("statistic", ()):
            if name not in STATISTICS[kind]:
                known = ", ".join(STATISTICS[kind])
                raise self.wrong("where.statistic", name, f"statistics are {known}")
        return filters

    def names(self) -> dict[str, str]:
        """Label as made → as shown."""
        return {raw: self._label(raw, shown) for raw, shown in self._mapping("names").items()}

    def sums(self, kind: str) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Name → how, and which proxies are added."""
        found = self._mapping("sums")
        if found and kind != "correlations":
            raise self.wrong("sums", ", ".join(found), "only kind correlations adds scores")
        sums = {}
        for name, terms in found.items():
            ways = terms if isinstance(terms, dict) else {"sum": terms}
            if len(ways) != 1 or not set(ways) <= set(COMBINED):
                allowed = f"give proxies, or one of {', '.join(COMBINED)} with proxies"
                raise self.wrong(f"sums.{name}", terms, allowed)
            ((how, proxies),) = ways.items()
            sums[name] = how, self._some_texts(f"sums.{name}", proxies)
        return sums

    def conditions(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """See `diswot.tables.conditions.Conditions`."""
        found = self._mapping("conditions")
        own = {command: found.pop(command) for command in COMMANDS if command in found}
        for command, settings in own.items():
            if not isinstance(settings, dict):
                raise self.wrong(f"conditions.{command}", settings, "give settings and values")
        return {
            command: {
                str(name): self._values(f"conditions.{name}", value)
                for name, value in settings.items()
            }
            for command, settings in {"": found, **own}.items()
        }

    def _values(self, key: str, value: object) -> tuple[str, ...]:
        """Allowed values; a setting that is a list itself is a list in the list."""
        listed = value if isinstance(value, list) else [value]
        flat = [inner for each in listed for inner in (each if isinstance(each, list) else [each])]
        if not listed or any(isinstance(inner, dict | list | bytes) for inner in flat):
            raise self.wrong(key, value, "give the dotted name of a setting, and a value or a list")
        return tuple(map(as_text, listed))

    def _label(self, raw: str, shown: object) -> str:
        if not isinstance(shown, str) or not shown.strip():
            raise self.wrong(f"names.{raw}", shown, "give a text")
        return shown

    def _mapping(self, key: str) -> dict[str, Any]:
        value = self._content.get(key) or {}
        if not isinstance(value, dict):
            raise self.wrong(key, value, "give names and values")
        return {str(name): inner for name, inner in value.items()}

    def _some_texts(self, key: str, values: object) -> tuple[str, ...]:
        texts = self._texts(key, values)
        if not texts:
            raise self.wrong(key, values, "give one at least")
        return texts

    def _texts(self, key: str, values: object) -> tuple[str, ...]:
        listed = values if isinstance(values, list) else [values]
        texts = tuple(str(value).strip() for value in listed if not isinstance(value, dict | list))
        if len(texts) != len(listed) or not all(texts):
            raise self.wrong(key, values, "give a text, or a list of texts")
        return texts
