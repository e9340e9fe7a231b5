"""Tables of publications: how each is made, what was published and what was measured."""

from diswot.tables.collect import Collection, collect
from diswot.tables.spec import Spec
from diswot.tables.table import Cell, Table, load_table, to_markdown

__all__ = ["Cell", "Collection", "Spec", "Table", "collect", "load_table", "to_markdown"]
