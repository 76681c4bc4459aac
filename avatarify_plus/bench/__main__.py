"""Run the bench: `python -m avatarify_plus.bench`, the same as `avatarify bench`."""

import sys

from avatarify_plus.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
