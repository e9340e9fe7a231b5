"""Where a run is followed while it runs: one file a logger."""

from diswot.loggers.base import Cell, Logger, Run

__all__ = ["Cell", "Logger", "Run"]
