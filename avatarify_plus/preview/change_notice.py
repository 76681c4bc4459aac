"""A notice of what a key has changed, shown for a moment."""

from __future__ import annotations

from avatarify_plus.config import AppConfig
from avatarify_plus.motion.controls import PARTS

NOTICE_S = 1.6
"""How long a notice stays."""


class ChangeNotice:
    """Compare the config with the one before: whatever keys have changed is shown for NOTICE_S.

    text: what is to be shown now, empty for nothing.
    """

    def __init__(self) -> None:
        self.text = ""
        self._before: AppConfig | None = None
        self._until_s = 0.0

    def update(self, config: AppConfig, now_s: float) -> None:
        """Look at the config of this moment."""
        if self._before is not None and config is not self._before:
            changed = [
                text for text, before in zip(_texts(config), _texts(self._before), strict=True) if text != before
            ]
            if changed:
                self.show("; ".join(changed), now_s)
        self._before = config
        if now_s >= self._until_s:
            self.text = ""

    def show(self, text: str, now_s: float) -> None:
        """Show another text for NOTICE_S."""
        self.text, self._until_s = text, now_s + NOTICE_S


def _texts(config: AppConfig) -> list[str]:
    """Return a text for each value that keys change, except those whose change is seen in the preview itself."""
    return [
        f"zoom {config.zoom:.2f}, view {_place(config.shift_x, 'right', 'left')}, "
        f"{_place(config.shift_y, 'down', 'up')}",
        f"motion {config.strength:.0%}",
        *(f"{name} {getattr(config, name):.0%}" for name in PARTS),
        "looking into the camera" if config.lock_gaze else "looking where you look",
        "all of the face moves" if config.region == "all" else f"only {config.region} moves",
        f"smoothing {config.smoothing:.0%}",
        f"photo over you {config.overlay:.0%}",
        "looking for a better neutral face" if config.search else "keeping this neutral face",
        "this window is mirrored" if config.mirror_preview else "this window is not mirrored",
        "others see a mirror image" if config.mirror_output else "others see no mirror image",
    ]


def _place(share: float, forwards: str, backwards: str) -> str:
    return f"{abs(share):.1%} {backwards if share < 0 else forwards}" if share else f"0 {forwards}"
