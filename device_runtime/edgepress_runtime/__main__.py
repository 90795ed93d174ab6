"""`python -m edgepress_runtime` is `edgepress-device`."""

import sys

from edgepress_runtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
