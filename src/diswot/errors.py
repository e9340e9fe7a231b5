"""The errors a user can cause, and the only ones shown without a traceback."""

__all__ = ["UserError"]


class UserError(Exception):
    """Wrong input: the message says what is wrong, what is allowed and where it came from.

    Entry points turn it into that message and exit code 2.
    """
