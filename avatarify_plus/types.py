"""The values that travel between layers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Mask = NDArray[np.uint8]
"""(..., H, W): from 0, outside, to 255, inside."""

FloatArray = NDArray[np.float32]


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class PhotoRegion(NamedTuple):
    """What lies around an avatar's square in its photo.

    picture: (W, W, 3), in whose middle the square is, in the photo's own resolution. goes_on: whether something worth
    showing lies around the square; False where nothing is known of it, so that it is mirrored outwards.
    """

    picture: Image
    goes_on: bool = True


class Keypoints(NamedTuple):
    """Keypoints with their local affine frames; numpy in the app, torch with a leading batch in the network.

    value: (K, 2) float32, (x, y) in [-1, 1], -1 and 1 being the picture's outer edges.
    jacobian: (K, 2, 2) float32, the derivative of the picture's coordinates by the abstract reference frame's.
    """

    value: Any
    jacobian: Any


class Frame(NamedTuple):
    """One captured picture: (H, W, 3) uint8 RGB, its number in the stream, and its time in seconds (monotonic)."""

    image: Image
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a frame
    captured_at: float
