"""The HTML report: one file, made of run directories and tables, that needs no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from diswot._version import __version__
from diswot.reporting.page.sections import run_sections
from diswot.reporting.page.table import table_section, terminal_table

if TYPE_CHECKING:
    from diswot.runs import Run
    from diswot.tables import Table

__all__ = ["page_title", "render", "terminal_table"]


def render(title: str, runs: Sequence[Run], tables: Sequence[Table] = ()) -> bytes:
    """The page as UTF-8; the same runs and tables give the same bytes.

    Its content security policy allows no request and no script but its own.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.from_string(_resource("page.html.j2")).render(
        title=title,
        version=__version__,
        style=Markup(_resource("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        tables=[table_section(table) for table in tables],
        **run_sections(runs),
    )
    return text.encode("utf-8", "replace")  # file names may hold bytes that are no text


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def page_title(paths: Sequence[Path]) -> str:
    """Title of a report of these folders."""
    first = paths[0].resolve().name or str(paths[0])
    return f"{first} and {len(paths) - 1} more" if len(paths) > 1 else first
