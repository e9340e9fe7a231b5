"""``python -m diswot`` is the console script."""

import sys

from diswot.cli import main

sys.exit(main())
