"""Loggers of a run: Lightning's, with what they lack for runs that are stopped and go on."""

from diswot.loggers.several import LoggedRun, Loggers

__all__ = ["LoggedRun", "Loggers"]
