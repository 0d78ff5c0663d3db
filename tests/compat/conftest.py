"""These tests need Optimum, which pins transformers<4.58: `make test` runs them in .venv-compat.

There BERTRT_COMPAT is set, and a missing Optimum is an error, not a skipped test.
"""

import os

_HERE = "BERTRT_COMPAT" in os.environ

collect_ignore_glob = [] if _HERE else ["test_*.py"]
