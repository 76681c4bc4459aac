"""The square around the face: as in training for photos, steady for drivers."""

import logging
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.framing import (
    LOST_SHIFT,
    RISE_PER_FACE,
    SIDE_PER_FACE,
    STILL_SHIFT,
    DriverFraming,
    FindMesh,
    frame_photo,
    mesh_finder,
    square_around,
)
from avatarify_plus.images import Box, crop, load_photo, resize
from avatarify_plus.types import FloatArray, Frame, Image
from fakes import EXAMPLES, example_driver, oval_mesh, plain_picture

WIDTH, HEIGHT = 640, 480


def at(x: float, y: float, height_px: float = 150.0) -> FloatArray:
    """Return a mesh in a 640x480 picture."""
    return oval_mesh((x, y), height_px, WIDTH, HEIGHT)


def script(*meshes: FloatArray | None) -> FindMesh:
    """Return a finder that gives one mesh after the other, then the last for ever."""
    remaining = list(meshes)
    return lambda image: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def frame(index: int = 0, fps: float = 25.0) -> Frame:
    picture = plain_picture(0, HEIGHT, WIDTH)
    picture[..., 0] = np.arange(WIDTH) // 3  # tells where it was cut
    return Frame(picture, index, index / fps)


@pytest.fixture(scope="module")
def find_in_photos() -> Iterator[FindMesh]:
    with mesh_finder(is_needed=True, tracking=False) as find:
        assert find is not None
        yield find


def centre(landmarks: FloatArray) -> FloatArray:
    low, high = landmarks[:468, :2].min(0), landmarks[:468, :2].max(0)
    return (low + high) / 2


# --- the square ---


def test_the_square_is_trainings() -> None:
    box = square_around(at(300, 200) * np.array([WIDTH, HEIGHT, WIDTH], np.float32))
    assert box.width == box.height == pytest.approx(SIDE_PER_FACE * 150, rel=1e-3)
    assert box.left + box.width / 2 == pytest.approx(300, abs=0.1)
    assert box.top + box.height / 2 == pytest.approx(200 - RISE_PER_FACE * 150, abs=0.1)


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
def test_a_photos_square_shows_the_face_as_training_did(find_in_photos: FindMesh, name: str) -> None:
    view = frame_photo(load_photo(EXAMPLES / name), find_in_photos, 256, "auto")
    assert view.image.shape == (256, 256, 3)
    assert view.landmarks is not None
    assert view.has_face
    size = np.ptp(view.landmarks[:468, :2], axis=0).max()
    assert 1 / SIDE_PER_FACE - 0.01 < size < 1 / (0.9 * SIDE_PER_FACE) + 0.01
    assert np.all(np.abs(centre(view.landmarks) - 0.5) < 0.13)
    again = find_in_photos(view.image)  # the landmarks are the face's in the square, too
    assert again is not None
    assert np.abs(again[:, :2] - view.landmarks[:, :2]).mean() * 256 < 2.5


def test_landmarks_and_picture_are_cut_alike() -> None:
    """Where a landmark is in the photo, there it is in the square."""
    mesh = at(350, 220)
    photo = plain_picture(0, HEIGHT, WIDTH)
    x, y = np.rint(mesh[0, :2] * (WIDTH, HEIGHT)).astype(int)
    photo[y - 2 : y + 2, x - 2 : x + 2] = 255
    view = frame_photo(photo, script(mesh), 256, "auto")
    assert view.landmarks is not None
    bright = np.argwhere(view.image[..., 0] > 128).mean(0)[::-1] + 0.5
    np.testing.assert_allclose(bright / 256, view.landmarks[0, :2], atol=0.01)


def test_a_square_at_the_photos_edge_is_moved_inside() -> None:
    photo = plain_picture(0, HEIGHT, WIDTH)
    photo[:, :2] = 255  # the left edge, which would be repeated
    view = frame_photo(photo, script(at(135, 240)), 64, "auto")  # reaches out by 12 pixels of 294
    assert view.landmarks is not None
    assert 0.4 < centre(view.landmarks)[0] < 0.5
    assert (view.image[..., 0] > 64).mean() < 0.02


def test_without_a_face_the_photo_is_refused() -> None:
    with pytest.raises(SourceError, match="no face found in the photo; use"):
        frame_photo(plain_picture(128, 100, 200), lambda image: None, 64, "auto")


def test_a_landscape_has_no_face(find_in_photos: FindMesh) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    with pytest.raises(SourceError, match="no face found"):
        frame_photo(noise, find_in_photos, 64, "auto")


def small_face(find: FindMesh) -> Image:
    large = plain_picture(200, 1000, 1500)
    large[300:450, 800:950] = resize(load_photo(EXAMPLES / "avatar_2.jpg"), 150)
    return large


def tight_face(find: FindMesh) -> Image:
    """Return no more than eyes, nose and mouth."""
    photo = load_photo(EXAMPLES / "avatar_2.jpg")
    mesh = find(photo)
    assert mesh is not None
    x, y = centre(mesh) * 768
    side = 0.7 * 768 * float(np.ptp(mesh[:468, 1]))
    return crop(photo, Box(x - side / 2, y - side / 2, side, side), round(side))


@pytest.mark.parametrize(("make", "is_soft"), [(small_face, True), (tight_face, False)])
def test_faces_that_the_detector_misses_at_first_are_found(
    find_in_photos: FindMesh, caplog: pytest.LogCaptureFixture, make: Callable[[FindMesh], Image], is_soft: bool
) -> None:
    photo = make(find_in_photos)
    assert find_in_photos(photo) is None
    with caplog.at_level(logging.WARNING):
        view = frame_photo(photo, find_in_photos, 300, "auto")
    assert view.landmarks is not None
    assert np.all(np.abs(centre(view.landmarks) - 0.5) < 0.13)
    assert is_soft == ("the picture will be soft" in caplog.text)


@pytest.mark.parametrize("find", [None, script(at(100, 100))])
def test_framing_none_takes_the_whole_picture(find: FindMesh | None) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for view, is_quick in (
        (frame_photo(picture, find, 64, "none"), False),
        (DriverFraming(find, 64, "none", follows=True).view(Frame(picture, 0, 0.0)), True),
    ):
        np.testing.assert_array_equal(view.image, resize(picture, 64, is_quick))
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


def test_nobody_starts_mediapipe_without_need() -> None:
    with mesh_finder(is_needed=False, tracking=True) as find:
        assert find is None


def test_mediapipe_starts_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with mesh_finder(is_needed=True, tracking=False) as find:
        assert find is not None
        find(plain_picture(9))
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"
