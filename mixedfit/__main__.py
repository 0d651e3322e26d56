"""``python -m mixedfit``."""

import sys

from mixedfit.cli import main

sys.exit(main())
