"""Places on the face by their numbers in MediaPipe's mesh. Right and left are the subject's own."""

from __future__ import annotations

from typing import NamedTuple

LANDMARK_COUNT = 478
"""The mesh's points, then five for each iris, the right one first."""

MESH_POINTS = 468
"""The mesh's points without the irises."""


class Eye(NamedTuple):
    """An eye's outer and inner corner, the pairs of upper and lower lid across its opening, and the ring of its rim."""

    corners: tuple[int, int]
    across: tuple[tuple[int, int], ...]
    rim: tuple[int, ...]


RIGHT_EYE = Eye(
    corners=(33, 133),
    across=((160, 144), (159, 145), (158, 153)),
    rim=(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
)
LEFT_EYE = Eye(
    corners=(263, 362),
    across=((385, 380), (386, 374), (387, 373)),
    rim=(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)

OUTER_EYE_CORNERS = (33, 263)
"""The outer corners of the right and the left eye."""

# the rings of the irises; the point before each ring is its centre
RIGHT_IRIS, LEFT_IRIS = (469, 472, 471, 470), (474, 477, 476, 475)

# the rings of the lips' rims, from the right corner along the lower lip
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)

# the rings between these two, whose points lie side by side with theirs
LIP_RINGS = (
    OUTER_LIPS,
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 408, 304, 303, 302, 11, 72, 73, 74, 184),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 407, 272, 271, 268, 12, 38, 41, 42, 183),
    INNER_LIPS,
)

ACROSS_MOUTH = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))
"""Pairs of upper and lower lip on the inner rim, the middle of the mouth first."""

MOUTH_CORNERS = (61, 291)
"""The right and the left corner of the mouth."""

FACE_OVAL = (
    *(10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148),
    *(152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297, 338),
)
"""The ring of the face's outline, from the top of the forehead along the right side."""

FACE_SIDES = (234, 454)
"""The right and the left edge of the face, before the ears."""

FACE_HEIGHT = (10, 152)
"""The top of the forehead and the chin."""

RIGHT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
LEFT_BROW = (300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
"""The upper and the lower edge of each brow."""

NOSE_TIP, NOSE_BASE = 1, 2

SKULL = (
    *(10, 109, 67, 103, 54, 21, 162, 127, 338, 297, 332, 284, 251, 389, 356, 9, 151, 8, 168),
    *(6, 197, 195, 5, 4, 1, 33, 133, 263, 362, 234, 454, 93, 323),
)
"""Points that hardly move with expression: forehead, temples, nose, corners of the eyes, sides of the face."""
