"""Where pictures go: one contract, one file each."""

from avatarify_plus.sinks.outputs import Outputs
from avatarify_plus.sinks.sink import Sink

__all__ = ["Outputs", "Sink"]
