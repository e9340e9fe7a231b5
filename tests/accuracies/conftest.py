"""Fixtures of this folder, all from its one helper file."""

from benchmark_helpers import edited_csv, whole_csv

__all__ = ["edited_csv", "whole_csv"]
