"""Run the bench: `python -m avatarify_plus.bench`."""

import sys

from avatarify_plus.bench.bench import main

if __name__ == "__main__":
    sys.exit(main())
