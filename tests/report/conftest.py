"""Fixtures of the report's tests."""

from report_helpers import report, search_run, sweep

__all__ = ["report", "search_run", "sweep"]
