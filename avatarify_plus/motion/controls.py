"""How much of what a driver does an avatar follows, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SmileOrigin = Literal["photo", "driver"]
Region = Literal["all", "expression", "head", "mouth", "eyes"]

PARTS = ("mouth", "eyes", "brows", "gaze", "head")
"""The factors of `Controls`, which AppConfig has under the same names."""

_MOVED: dict[Region, tuple[str, ...]] = {
    "all": PARTS,
    "expression": ("mouth", "eyes", "brows", "gaze"),
    "head": ("head",),
    "mouth": ("mouth",),
    "eyes": ("eyes", "gaze"),
}
"""What of a face each region moves."""


@dataclass(frozen=True, slots=True)
class Controls:
    """Factors of what is followed, 0 leaves a part as the photo has it, 1 follows the driver, up to 2 exaggerates.

    mouth: lips, jaw and cheeks. eyes: lids. brows: brows and forehead. gaze: irises. head: turning, nodding and
    travelling. smile: what is added to: the photo's own smile, or a mouth at rest. locks_gaze: the eyes look into the
    camera, whatever the driver's do.
    """

    mouth: float = 1.0
    eyes: float = 1.0
    brows: float = 1.0
    gaze: float = 1.0
    head: float = 1.0
    smile: SmileOrigin = "photo"
    locks_gaze: bool = False

    def only(self, region: Region) -> Controls:
        """Return the same with all but a region left as the photo has it."""
        factors = {name: getattr(self, name) if name in _MOVED[region] else 0.0 for name in PARTS}
        return Controls(**factors, smile=self.smile, locks_gaze=self.locks_gaze)


FOLLOW_ALL = Controls()
"""Everything as the driver does it."""
