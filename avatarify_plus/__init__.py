"""Turn one photo into a live avatar for any video call.

    import avatarify_plus

    with avatarify_plus.load_animator("live-512") as animator:
        animator.set_avatar("face.jpg")
        picture = animator.animate(frame)  # (H, W, 3) uint8 RGB in, (S, S, 3) uint8 RGB out

Nothing is sent anywhere: importing this package, which every program does before anything else, also keeps the
runtimes below it from reporting to their makers.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avatarify_plus.animator import Animator as Animator
    from avatarify_plus.animator import load_animator as load_animator

__version__ = "0.2.0"
__all__ = ["Animator", "__version__", "load_animator"]

# OpenVINO imports this package if it is there, which asks its analytics server at each import and keeps an id at home;
# None makes that import fail, which OpenVINO takes for "not installed".
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# ONNX Runtime keeps an id and a queue of events at home; it reads this once, when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for: `import avatarify_plus` alone is quick and needs no packages."""
    if name in ("Animator", "load_animator"):
        from avatarify_plus import animator

        return getattr(animator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
