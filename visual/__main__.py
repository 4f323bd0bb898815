"""`python -m visual …`: see `visual.cli`."""

import sys

from visual.cli import main

sys.exit(main())
