"""Where pictures go: a recording, a virtual camera, or several at once, all by the contract of `Sink`."""

from avatarify_plus.sinks.outputs import Outputs
from avatarify_plus.sinks.sink import Sink

__all__ = ["Outputs", "Sink"]
