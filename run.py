"""Turn one photo into a live avatar: `python run.py --avatar face.jpg`, the same as the command `avatarify`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # Python leaves it out under -P and PYTHONSAFEPATH

from avatarify_plus.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
