"""Run directories: what a run writes, and how it goes on after it was stopped."""

from diswot.storage.journal import Journal
from diswot.storage.run_dir import RunDir

__all__ = ["Journal", "RunDir"]
