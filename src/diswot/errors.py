"""The errors a user can cause, and the only ones shown without a traceback."""

from pathlib import Path


class UserError(Exception):
    """Wrong input: the message says what is wrong, what is allowed and where it came from.

    Entry points turn it into that message and exit code 2.
    """


class UnfitError(UserError):
    """A network that cannot be used, or not on such images, where others of its kind can."""


class DivergedError(UserError):
    """A training whose loss is no longer finite."""


class UnreadableError(UserError):
    """A file of a run is missing, damaged, or not what it should be.

    Args:
        file: The file.
        problem: What is wrong with it, an exception or a text; kept in one line.
        line: Its number, from 1; None where the whole file is meant.
        remedy: What to do; empty where nothing can be done.
    """

    def __init__(
        self, file: Path, problem: object, *, line: int | None = None, remedy: str = ""
    ) -> None:
        self.file, self.line = file, line
        self.problem = " ".join(str(problem).split())[:300]
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place} is damaged ({self.problem}){f'; {remedy}' if remedy else ''}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str]]:
        return UserError, (str(self),)  # to another process the message is what matters
