"""Run the doctor: `python -m avatarify_plus.doctor`."""

import sys

from avatarify_plus.doctor.doctor import main

if __name__ == "__main__":
    sys.exit(main())
