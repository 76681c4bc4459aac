"""Pictures: reading and cutting them, writing on them, putting them together."""
