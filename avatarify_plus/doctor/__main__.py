"""Run the doctor: `python -m avatarify_plus.doctor`, the same as `avatarify doctor`."""

import sys

from avatarify_plus.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
