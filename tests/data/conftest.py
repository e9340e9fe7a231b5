"""Fixtures of this folder, all from its one helper file."""

from data_helpers import npz_file, sample, trusted

__all__ = ["npz_file", "sample", "trusted"]
