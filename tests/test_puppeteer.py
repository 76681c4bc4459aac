"""The story of one frame."""

import numpy as np
import pytest

from avatarify_plus.config import MotionMode
from avatarify_plus.errors import SourceError
from avatarify_plus.images import View
from avatarify_plus.motion import keypoints_from_mesh, load_mesh_layout, movement_scale, transfer
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.types import Keypoints
from fakes import FakeEngine, oval_mesh, plain_picture

LAYOUT = load_mesh_layout("face-20")
NOBODY = View(plain_picture(0, 64, 64), None, has_face=False)


def view(x: float = 32, y: float = 32, height_px: float = 32, level: int = 50) -> View:
    """Return a view whose mesh is an oval at a place in its 64 pixels."""
    return View(plain_picture(level, 64, 64), oval_mesh((x, y), height_px, 64, 64), has_face=True)


def keypoints(seen: View) -> Keypoints:
    assert seen.landmarks is not None
    return keypoints_from_mesh(seen.landmarks, LAYOUT)


def ready(
    engine: FakeEngine, motion: MotionMode = "relative", scale: float | None = 1.0, smoothing: float = 0.0
) -> Puppeteer:
    puppeteer = Puppeteer(engine, motion, scale, smoothing)
    puppeteer.set_source(view(30, 34))
    return puppeteer


def assert_close(found: Keypoints, wanted: Keypoints, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(found.value, wanted.value, atol=tolerance)
    np.testing.assert_allclose(found.jacobian, wanted.jacobian, atol=10 * tolerance)


def test_the_first_driving_frame_shows_the_source_as_it_is() -> None:
    engine = FakeEngine()
    ready(engine).animate(view(40, 20, 40), 0.0)
    assert_close(engine.animated[-1], keypoints(view(30, 34)))


def test_relative_motion_is_measured_from_the_first_frame() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    puppeteer.animate(view(40, 20), 0.0)
    puppeteer.animate(view(44, 18), 0.04)
    wanted = transfer(keypoints(view(30, 34)), keypoints(view(44, 18)), keypoints(view(40, 20)))
    assert_close(engine.animated[-1], wanted)
    np.testing.assert_allclose(
        engine.animated[-1].value - keypoints(view(30, 34)).value, np.tile([8 / 64, -4 / 64], (20, 1)), atol=1e-4
    )


def test_the_movement_scale_is_found_from_the_faces_or_given() -> None:
    for given, expected in ((None, movement_scale(keypoints(view()), keypoints(view(height_px=16)))), (3.0, 3.0)):
        engine = FakeEngine()
        puppeteer = ready(engine, scale=given)
        puppeteer.animate(view(32, 32, 16), 0.0)
        puppeteer.animate(view(36, 32, 16), 0.04)
        moved = engine.animated[-1].value - keypoints(view(30, 34)).value
        np.testing.assert_allclose(moved, np.tile([8 / 64 * expected, 0], (20, 1)), atol=1e-3)
    assert expected != 2.0


def test_recalibrating_takes_the_next_face_as_neutral() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    puppeteer.animate(view(40, 20), 0.0)
    puppeteer.recalibrate()
    puppeteer.animate(NOBODY, 0.04)
    puppeteer.animate(view(50, 40), 0.08)
    assert_close(engine.animated[-1], keypoints(view(30, 34)))


def test_absolute_motion_takes_the_drivers_pose() -> None:
    engine = FakeEngine()
    ready(engine, "absolute").animate(view(40, 20, 40), 0.0)
    assert_close(engine.animated[-1], keypoints(view(40, 20, 40)))


def test_a_lost_face_holds_the_last_picture() -> None:
    engine = FakeEngine()
    puppeteer = ready(engine)
    neutral = puppeteer.animate(NOBODY, 0.0)  # before anybody was seen: the avatar at rest
    assert_close(engine.animated[-1], keypoints(view(30, 34)))
    moving = puppeteer.animate(view(40, 20), 0.04)
    count = len(engine.animated)
    np.testing.assert_array_equal(puppeteer.animate(NOBODY, 0.08), moving)
    assert len(engine.animated) == count
    assert not np.array_equal(neutral, moving)


def test_smoothing_calms_what_jitters() -> None:
    spreads = []
    random = np.random.default_rng(0)
    jitter = random.normal(0, 0.03, (40, 2))
    for strength in (0.0, 0.5, 1.0):
        engine = FakeEngine()
        puppeteer = ready(engine, smoothing=strength)
        for index, (x, y) in enumerate(jitter):
            puppeteer.animate(view(32 + x, 32 + y), index / 25)
        values = np.stack([keypoints.value for keypoints in engine.animated[10:]])
        spreads.append(float(np.diff(values, axis=0).std()))
    assert spreads[0] > 2 * spreads[1] > 3 * spreads[2]


def test_learned_keypoints_come_from_the_engine() -> None:
    engine = FakeEngine("learned")
    puppeteer = Puppeteer(engine)
    assert not puppeteer.needs_mesh
    assert Puppeteer(FakeEngine()).needs_mesh
    puppeteer.set_source(View(plain_picture(10, 64, 64), None, has_face=True))
    puppeteer.animate(View(plain_picture(20, 64, 64), None, has_face=True), 0.0)
    puppeteer.animate(NOBODY, 0.04)
    assert [int(image[0, 0, 0]) for image in engine.detected] == [10, 20]
    assert len(engine.sources) == 1


def test_mixed_keypoints_are_the_meshs_and_then_the_engines() -> None:
    engine, mesh_engine = FakeEngine("both"), FakeEngine()
    for each in (engine, mesh_engine):
        ready(each).animate(view(34, 31), 0.0)
    mixed, mesh = engine.animated[-1], mesh_engine.animated[-1]
    assert mixed.value.shape == (24, 2) and mixed.jacobian.shape == (24, 2, 2)
    np.testing.assert_array_equal(mixed.value[:20], mesh.value)
    detected = engine.detect(view(34, 31).image)
    np.testing.assert_allclose(mixed.value[20:], detected.value, atol=1e-6)
    assert Puppeteer(engine).needs_mesh


def test_an_avatar_is_needed_first() -> None:
    with pytest.raises(SourceError, match="no avatar was set"):
        Puppeteer(FakeEngine()).animate(view(), 0.0)
    with pytest.raises(SourceError, match="shows no face"):
        Puppeteer(FakeEngine()).set_source(NOBODY)
