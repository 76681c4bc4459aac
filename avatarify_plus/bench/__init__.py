"""How fast the app is on this machine: `avatarify bench`."""
