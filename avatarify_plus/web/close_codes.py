"""The codes that a WebSocket is closed with, and what they ask of the other end (RFC 6455 and IANA's list)."""

REFUSED = 1008
"""It has no right to be here, and need not come again."""

FULL = 1013
"""It may come again later."""
