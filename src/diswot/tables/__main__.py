"""Prints the commands of a table's small runs: ``python -m diswot.tables experiments/NAME``."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from diswot.errors import UserError
from diswot.tables.spec import Spec


def main(argv: Sequence[str] | None = None) -> int:
    """Print a shell command a line for ``make tables``; gives 2 where a folder is no table's."""
    try:
        for folder in sys.argv[1:] if argv is None else argv:
            for words in Spec.load(Path(folder)).small:
                sys.stdout.write(f"{shlex.quote(sys.executable)} -m diswot.{words}\n")
    except UserError as error:
        sys.stderr.write(f"diswot tables: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
