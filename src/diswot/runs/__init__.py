"""Run directories: what a run writes, and how it goes on after it was stopped."""

from diswot.runs.journal import Epoch, Journal, Record, Scored
from diswot.runs.run_dir import RunDir

__all__ = ["Epoch", "Journal", "Record", "RunDir", "Scored"]
