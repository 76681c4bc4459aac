"""The neutral face of somebody who never shows it: what his faces have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatarify_plus.motion.expression import lid_gaps, lip_gaps, set_lid_gaps, set_lip_gaps
from avatarify_plus.motion.face_pose import fit_pose, rotation_vector
from avatarify_plus.types import FloatArray

OPEN_LIDS, CLOSED_LIPS = 80, 10
"""The percentiles of all lids' and all lips' gaps that stand for eyes that are open and a mouth that is closed."""


def typical_face(meshes: Sequence[FloatArray]) -> FloatArray:
    """Return the mesh (478, 3) that somebody's faces have in common, in the pose that is the median of theirs.

    meshes: (478, 3) each, one or more. The median of what is not pose is the expression to which a face comes back;
    eyes are open, and lips closed, as far as they ever are but for a few faces.
    """
    first = meshes[0]
    turns = np.stack([rotation_vector(fit_pose(first, mesh).rotation) for mesh in meshes])
    reference = meshes[int(np.linalg.norm(turns - np.median(turns, 0), axis=1).argmin())]
    calm = [fit_pose(reference, mesh).undo(mesh) for mesh in meshes]
    typical = np.median(np.stack(calm), axis=0).astype(np.float32)
    set_lid_gaps(typical, np.percentile([lid_gaps(mesh) for mesh in calm], OPEN_LIDS, axis=0).astype(np.float32))
    set_lip_gaps(typical, np.percentile([lip_gaps(mesh) for mesh in calm], CLOSED_LIPS, axis=0).astype(np.float32))
    return typical
