"""Tables of publications: how each is made, what was published and what was measured."""

from diswot.tables.collect import Collection, collect
from diswot.tables.correlations import known_accuracies
from diswot.tables.spec import Spec
from diswot.tables.table import Cell, Table, load_table, to_markdown

__all__ = ["Cell", "Collection", "Spec", "Table", "collect", "known_accuracies", "load_table"]
__all__ += ["to_markdown"]
