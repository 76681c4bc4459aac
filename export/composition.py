"""What people see of the graphs' outputs: the pictures that a quantized graph is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from avatarify_plus.network import tensor_names
from avatarify_plus.pictures.photo_layers import beyond_square, lay_over, warp_photo
from avatarify_plus.pictures.photo_region import surround
from avatarify_plus.types import FloatArray

MIRRORED_REACH = 2.0
"""How many sides of the square the photo has, mirrored: nearly all that a deformation reaches for."""


def shown_picture(graph: str, example: Mapping[str, Any], outputs: Mapping[str, Any]) -> FloatArray:
    """Return the picture, or the squares of a part, that a graph's outputs make, (N, h, w, 3), in levels of 255.

    example: the graph's inputs, for models with `photo_reach` with the source's square as "image". A part is blended
    with what was there; a painting with the photo, which is here the source's square, mirrored outwards.
    """
    if graph != tensor_names.ANIMATE:
        given, part = (array.astype(np.float32) for array in (example[tensor_names.GIVEN], outputs[tensor_names.PART]))
        blended: FloatArray = given + part[..., 3:] / 255 * (part[..., :3] - given)
        return blended
    if tensor_names.IMAGE in outputs:
        return outputs[tensor_names.IMAGE].astype(np.float32)
    painted, kept, deformation = (
        np.ascontiguousarray(outputs[name][0])
        for name in (tensor_names.PAINTED, tensor_names.KEPT, tensor_names.DEFORMATION)
    )
    photo = surround(example[tensor_names.IMAGE][0], MIRRORED_REACH)
    settled = beyond_square(kept[..., 0], deformation, goes_on=False)
    picture = lay_over(warp_photo(photo, deformation, painted.shape[0]), painted, settled)
    return picture[None].astype(np.float32)
