"""The commands as Hydra apps: configs, jobs, run directories, errors and exit codes."""

from diswot.commands.app import compose, quote, run_app
from diswot.commands.errors import exit_code
from diswot.commands.session import Command, Session, settled
from diswot.commands.task import Launch

__all__ = ["Command", "Launch", "Session", "compose", "exit_code", "quote", "run_app", "settled"]
