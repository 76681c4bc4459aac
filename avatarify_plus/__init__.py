"""Turn one photo into a live avatar for any video call."""

__version__ = "0.1.0"
