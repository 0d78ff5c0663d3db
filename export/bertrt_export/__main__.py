"""`python -m bertrt_export`."""

import sys

from bertrt_export.cli import main

sys.exit(main())
