"""``python -m ddpnas``."""

import sys

from ddpnas.cli import main

sys.exit(main())
