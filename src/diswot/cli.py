"""The console script ``diswot``: one command an entry module."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "search": "find the student a teacher distils best, without training",
    "race": "distil the best candidates of a search briefly, and find the one to train",
    "train": "train a student, with a teacher or alone",
    "probe": "fit a classifier for your classes on a teacher without one",
    "synthesize": "make images of a teacher alone, for students without training images",
    "export": "turn a trained student into a file that runs without diswot",
    "rank": "measure how well proxies predict accuracies that are known",
    "report": "one HTML page on runs and sweeps, or on a paper's table",
}

_LISTED = "\n".join(f"  {name:10} {purpose}" for name, purpose in COMMANDS.items())
_USAGE = f"""usage: diswot COMMAND [setting=value ...]

{_LISTED}

diswot COMMAND --help shows groups, settings and examples; diswot --version the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv``, else the command line, names; gives its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else None
    if command in ("-h", "--help"):
        sys.stdout.write(f"{_USAGE}\n")
        return 0
    if command == "--version":
        from diswot._version import __version__

        sys.stdout.write(f"diswot {__version__}\n")
        return 0
    if command not in COMMANDS:
        problem = f"diswot: no command {command!r}\n\n" if command else ""
        sys.stderr.write(f"{problem}{_USAGE}\n")
        return 2
    return int(import_module(f"diswot.{command}").main(arguments[1:]))


if __name__ == "__main__":
    sys.exit(main())
