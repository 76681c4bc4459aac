"""How fast the app is on this machine: `python -m avatarify_plus.bench`."""
