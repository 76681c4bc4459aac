"""The preview window: its picture and its keys."""
