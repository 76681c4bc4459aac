"""The picture in the preview window: yourself, what others see, and how it is going."""

from avatarify_plus.monitor.monitor import Monitor
from avatarify_plus.monitor.state import MonitorState

__all__ = ["Monitor", "MonitorState"]
