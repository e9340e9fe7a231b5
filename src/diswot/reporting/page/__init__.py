"""The HTML report: from run directories and tables to one page that needs no other file."""

from diswot.reporting.page.render import page_title, render
from diswot.reporting.page.table import terminal_table

__all__ = ["page_title", "render", "terminal_table"]
