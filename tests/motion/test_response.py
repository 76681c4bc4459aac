"""More is asked of an avatar that shows less than it is asked for."""

import numpy as np
import pytest

from avatarify_plus.motion.face import mesh_of
from avatarify_plus.motion.face_space import AvatarShape, Demand
from avatarify_plus.motion.response import EMPHASIS, MOST, Probe, demand_of, probe_of
from fakes import face_mesh


def probe() -> Probe:
    return probe_of(AvatarShape(mesh_of(face_mesh((32, 32), 30, 64, 64))))


def shown(asked: Probe, share: float) -> Probe:
    """Return what is seen of an avatar that moves by a share of what it is asked for."""
    return Probe(*(np.asarray(asked.rest + share * (mesh - asked.rest), np.float32) for mesh in asked))


def test_all_that_is_asked_for_arrives() -> None:
    asked = probe()
    found = demand_of(asked, shown(asked, 1.0))
    for answer, emphasis in zip(found, EMPHASIS, strict=True):
        assert answer == pytest.approx(emphasis, rel=0.02)


def test_half_an_answer_is_asked_for_twice_within_limits() -> None:
    asked = probe()
    found = demand_of(asked, shown(asked, 0.75))
    for answer, emphasis, most in zip(found, EMPHASIS, MOST, strict=True):
        assert answer == pytest.approx(min(emphasis / 0.75, most), rel=0.05)
    assert demand_of(asked, shown(asked, 0.0)) == MOST
    assert demand_of(asked, shown(asked, 5.0)) == Demand()


def test_the_probes_move_all_that_is_measured() -> None:
    asked = probe()
    for mesh in asked[1:]:
        assert 0.02 < np.abs(mesh - asked.rest).max() < 0.3
        assert np.isfinite(mesh).all()
