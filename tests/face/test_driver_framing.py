"""The driver's square: as in training, steady, true to one head."""

import sys

import numpy as np
import pytest
from meshes import HEIGHT, WIDTH, at, centre

from avatarify_plus.face.driver_framing import (
    DARK_FACE_LEVEL,
    LOST_SHIFT,
    LOYALTY_S,
    RISE_PER_FACE,
    SIDE_PER_FACE,
    STILL_SHIFT,
    DriverFraming,
    FindMesh,
    mesh_finder,
    square_around,
)
from avatarify_plus.pictures.images import AS_FOUND, Adjustment, View, resize
from avatarify_plus.types import FloatArray, Frame, Image
from fakes import example_driver, plain_picture


def script(*meshes: FloatArray | None) -> FindMesh:
    """Return a finder that gives one mesh after the other, then the last for ever."""
    remaining = list(meshes)
    return lambda image: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def frame(index: int = 0, fps: float = 25.0) -> Frame:
    picture = plain_picture(0, HEIGHT, WIDTH)
    picture[..., 0] = np.arange(WIDTH) // 3  # shows where it was cut
    return Frame(picture, index, index / fps)


# --- the square ---


def test_the_square_is_trainings() -> None:
    box = square_around(at(300, 200) * np.array([WIDTH, HEIGHT, WIDTH], np.float32))
    assert box.width == box.height == pytest.approx(SIDE_PER_FACE * 150, rel=1e-3)
    assert box.left + box.width / 2 == pytest.approx(300, abs=0.1)
    assert box.top + box.height / 2 == pytest.approx(200 - RISE_PER_FACE * 150, abs=0.1)


@pytest.mark.parametrize("find", [None, script(at(100, 100))])
def test_framing_none_takes_the_whole_picture(find: FindMesh | None) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    view = DriverFraming(find, 64, "none", follows=True).view(Frame(picture, 0, 0.0))
    np.testing.assert_array_equal(view.image, resize(picture, 64, quick=True))
    assert view.has_face
    assert (view.landmarks is None) == (find is None)
    if view.landmarks is not None:
        np.testing.assert_allclose(view.landmarks, at(100, 100), atol=1e-5)


# --- the driver's square ---


def test_a_fixed_square_keeps_the_heads_travel_in_the_motion() -> None:
    framing = DriverFraming(script(at(320, 240), at(350, 240), at(320, 220)), 64, "auto", follows=False)
    first, second, third = (framing.view(frame(index)).landmarks for index in range(3))
    assert first is not None and second is not None and third is not None
    side = SIDE_PER_FACE * 150
    np.testing.assert_allclose(centre(second) - centre(first), [30 / side, 0], atol=1e-3)
    np.testing.assert_allclose(centre(third) - centre(first), [0, -20 / side], atol=1e-3)


@pytest.mark.parametrize("follows", [False, True])
def test_a_head_that_leaves_the_square_gets_a_new_one(follows: bool) -> None:
    away = 200 + LOST_SHIFT * SIDE_PER_FACE * 150 + 20
    framing = DriverFraming(script(at(200, 240), at(away, 240)), 64, "auto", follows=follows)
    views = [framing.view(frame(index)) for index in range(2)]
    for view in views:
        assert view.landmarks is not None
        np.testing.assert_allclose(centre(view.landmarks)[0], 0.5, atol=1e-3)


def test_a_following_square_ignores_small_moves() -> None:
    random = np.random.default_rng(0)
    reach = 0.8 * STILL_SHIFT * SIDE_PER_FACE * 150
    moves = random.uniform(-reach, reach, (20, 2))
    framing = DriverFraming(script(at(320, 240), *(at(320 + x, 240 + y) for x, y in moves)), 64, "auto", follows=True)
    seen = [framing.view(frame(index)).landmarks for index in range(21)]
    centres = np.array([centre(mesh) for mesh in seen if mesh is not None])
    np.testing.assert_allclose(centres[1:] - centres[0], moves / (SIDE_PER_FACE * 150), atol=1e-3)


def test_a_following_square_closes_in_smoothly() -> None:
    side = SIDE_PER_FACE * 150
    framing = DriverFraming(script(at(250, 240), at(250 + 0.4 * side, 240, 180)), 64, "auto", follows=True)
    seen = [framing.view(frame(index)).landmarks for index in range(150)]
    offsets = np.array([centre(mesh)[0] - 0.5 for mesh in seen[1:] if mesh is not None])
    steps = np.diff(offsets)
    assert offsets[0] > 0.35
    assert offsets[-1] == pytest.approx(STILL_SHIFT, abs=0.03)  # only what exceeds the still zone is closed
    assert np.all(steps < 1e-6)
    assert np.abs(steps).max() < 0.03  # per frame: no jump


def test_without_a_face_the_square_stays() -> None:
    framing = DriverFraming(script(None, at(200, 200), None), 64, "auto", follows=True)
    views = [framing.view(frame(index)) for index in range(3)]
    assert [view.has_face for view in views] == [False, True, False]
    assert views[2].landmarks is None
    np.testing.assert_array_equal(views[2].image, views[1].image)
    assert not np.array_equal(views[1].image, views[0].image)


def test_the_example_driver_is_seen_in_every_frame() -> None:
    with mesh_finder(is_needed=True, tracking=True) as find:
        framing = DriverFraming(find, 64, "auto", follows=False)
        views = [framing.view(Frame(image, index, index / 25)) for index, image in enumerate(example_driver(4))]
    assert all(view.has_face for view in views)


def test_mediapipe_is_not_started_without_need() -> None:
    with mesh_finder(is_needed=False, tracking=True) as find:
        assert find is None


def test_mediapipe_starts_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with mesh_finder(is_needed=True, tracking=False) as find:
        assert find is not None
        find(plain_picture(9))
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


def test_a_still_head_keeps_the_square_still() -> None:
    """A mesh jitters by a pixel; the square does not move at all."""
    random = np.random.default_rng(0)
    meshes = [at(320 + x, 240 + y, 150 + z) for x, y, z in random.normal(0, 1, (50, 3))]
    views = views_of(DriverFraming(script(*meshes), 64, "auto", follows=True), 50)
    for view in views[1:]:
        np.testing.assert_array_equal(view.image, views[0].image)


# --- by hand ---


def views_of(framing: DriverFraming, count: int, start: int = 0) -> list[View]:
    return [framing.view(frame(start + index)) for index in range(count)]


def test_a_move_by_hand_is_made_smoothly() -> None:
    framing = DriverFraming(script(at(320, 240)), 64, "auto", follows=True)
    (before,) = views_of(framing, 1)
    framing.adjust(1.5, 0.1, -0.2)
    views = views_of(framing, 40, 1)
    assert before.landmarks is not None and views[-1].landmarks is not None
    wanted = 0.5 + (centre(before.landmarks) - 0.5 - [0.1, -0.2]) * 1.5
    np.testing.assert_allclose(centre(views[-1].landmarks), wanted, atol=1e-5)
    assert before.adjustment == AS_FOUND
    assert views[-1].adjustment == Adjustment(1.5, 0.1, -0.2)
    places = np.array([centre(view.landmarks) for view in views if view.landmarks is not None])
    steps = np.linalg.norm(np.diff(np.concatenate([[centre(before.landmarks)], places]), axis=0), axis=1)
    assert steps.max() < 0.4 * steps.sum()  # eased over some frames


def test_a_move_by_hand_before_the_first_frame_is_made_at_once() -> None:
    framing = DriverFraming(script(at(320, 240)), 64, "auto", follows=True)
    framing.adjust(2.0, 0.0, 0.0)
    (view,) = views_of(framing, 1)
    assert view.adjustment == Adjustment(2.0, 0.0, 0.0)
    assert view.landmarks is not None
    assert np.ptp(view.landmarks[:, 1]) == pytest.approx(2 / SIDE_PER_FACE, rel=1e-3)


# --- others ---


def test_somebody_else_is_not_followed_for_a_while() -> None:
    """The mesh hops to a neighbour, who stays and is followed once the first head has been away for long enough."""
    framing = DriverFraming(script(at(150, 240), at(500, 240)), 64, "auto", follows=True)
    count = round(LOYALTY_S * 25)
    views = views_of(framing, count + 3)
    assert [view.has_face for view in views] == [True] + count * [False] + 2 * [True]
    assert [view.has_new_square for view in views] == (count + 1) * [False] + [True, False]


def test_meanwhile_only_the_neighbourhood_is_searched() -> None:
    seen: list[Image] = []
    meshes = script(at(150, 240), at(500, 240), None, at(160, 240))

    def find(image: Image) -> FloatArray | None:
        seen.append(image)
        return meshes(image)

    views = views_of(DriverFraming(find, 64, "auto", follows=True), 5)
    assert [view.has_face for view in views] == [True, False, False, True, True]
    bright = [float(image[240, 600].max()) for image in seen]
    near = [float(image[240, 200].max()) for image in seen]
    assert [value > 0 for value in bright] == [True, True, False, False, True]
    assert all(near)
    assert not any(view.has_new_square for view in views)


def test_in_a_video_whoever_is_seen_is_taken() -> None:
    views = views_of(DriverFraming(script(at(150, 240), at(500, 240)), 64, "auto", follows=False), 2)
    assert [(view.has_face, view.has_new_square) for view in views] == [(True, False), (True, True)]


# --- pictures of another kind ---


@pytest.mark.parametrize("follows", [False, True])
def test_another_picture_size_gets_a_new_square(follows: bool) -> None:
    half = at(320, 240)
    framing = DriverFraming(script(half), 64, "auto", follows=follows)
    before = framing.view(frame())
    small = np.ascontiguousarray(frame(1).image[::2, ::2])
    after = framing.view(Frame(small, 1, 0.04))
    assert (before.has_new_square, after.has_new_square) == (False, True)
    assert before.landmarks is not None and after.landmarks is not None
    np.testing.assert_allclose(after.landmarks, before.landmarks, atol=1e-4)


@pytest.mark.parametrize("follows", [False, True])
def test_the_dark_is_reported_and_brightened_where_it_is_followed(follows: bool) -> None:
    framing = DriverFraming(script(at(320, 240)), 64, "auto", follows=follows)
    views = [framing.view(Frame(plain_picture(level, HEIGHT, WIDTH), 0, 0.0)) for level in (0, 10, 40, 120)]
    assert [view.is_dark for view in views] == [level < DARK_FACE_LEVEL for level in (0, 10, 40, 120)]
    levels = [float(view.image.mean()) for view in views]
    assert levels == pytest.approx([0, 60, 60, 120] if follows else [0, 10, 40, 120], abs=1)
