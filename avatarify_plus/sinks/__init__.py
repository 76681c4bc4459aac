"""Where pictures go: one contract, one file each. The preview window, a sink too, is `avatarify_plus.preview`."""

from avatarify_plus.sinks.outputs import Outputs
from avatarify_plus.sinks.sink import Sink

__all__ = ["Outputs", "Sink"]
