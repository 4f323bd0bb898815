"""`python -m visual …`: see `visual.cli`."""

import sys

from visual.cli import main

if __name__ == "__main__":
    sys.exit(main())
