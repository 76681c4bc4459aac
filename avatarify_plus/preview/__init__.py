"""The preview window: the picture that it shows, and its keys."""
