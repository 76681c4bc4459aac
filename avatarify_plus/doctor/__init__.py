"""What is missing on this machine, and how to get it: `python -m avatarify_plus.doctor`."""
