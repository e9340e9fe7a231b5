"""The paper's tables: how each is made, what was published and what was measured."""

from diswot.tables.base import Cell, Table
from diswot.tables.collect import Collection, collect
from diswot.tables.files import is_table, load_table
from diswot.tables.markdown import to_markdown
from diswot.tables.spec import Spec

__all__ = [
    "Cell",
    "Collection",
    "Spec",
    "Table",
    "collect",
    "is_table",
    "load_table",
    "to_markdown",
]
