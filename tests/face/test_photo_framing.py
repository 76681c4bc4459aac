"""The avatar's square: as in training, whatever the photo."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from meshes import HEIGHT, WIDTH, at, centre

from avatarify_plus.errors import SourceError
from avatarify_plus.face.driver_framing import SIDE_PER_FACE
from avatarify_plus.face.photo_framing import FindMeshes, faces_finder, frame_photo
from avatarify_plus.pictures.images import Box, crop, load_photo, resize, whole
from avatarify_plus.types import FloatArray, Image
from fakes import EXAMPLES, plain_picture


def finder(*meshes: FloatArray) -> FindMeshes:
    """Return a finder that gives the same faces for every picture."""
    return lambda image: list(meshes)


@pytest.fixture(scope="module")
def find_in_photos() -> Iterator[FindMeshes]:
    with faces_finder(is_needed=True) as find:
        assert find is not None
        yield find


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
def test_a_photos_square_shows_the_face_as_training_did(find_in_photos: FindMeshes, name: str) -> None:
    view = frame_photo(load_photo(EXAMPLES / name), find_in_photos, 256, "auto").view
    assert view.image.shape == (256, 256, 3)
    assert view.landmarks is not None
    assert view.has_face
    size = np.ptp(view.landmarks[:468, :2], axis=0).max()
    assert 1 / SIDE_PER_FACE - 0.01 < size < 1 / (0.9 * SIDE_PER_FACE) + 0.01
    assert np.all(np.abs(centre(view.landmarks) - 0.5) < 0.13)
    (again,) = find_in_photos(view.image)  # the landmarks are the face's in the square, too
    assert np.abs(again[:, :2] - view.landmarks[:, :2]).mean() * 256 < 2.5


def test_landmarks_and_picture_are_cut_alike() -> None:
    """Where a landmark is in the photo, there it is in the square."""
    mesh = at(350, 220)
    photo = plain_picture(0, HEIGHT, WIDTH)
    x, y = np.rint(mesh[0, :2] * (WIDTH, HEIGHT)).astype(int)
    photo[y - 2 : y + 2, x - 2 : x + 2] = 255
    view = frame_photo(photo, finder(mesh), 256, "auto").view
    assert view.landmarks is not None
    bright = np.argwhere(view.image[..., 0] > 128).mean(0)[::-1] + 0.5
    np.testing.assert_allclose(bright / 256, view.landmarks[0, :2], atol=0.01)


def test_a_square_at_the_photos_edge_is_moved_inside() -> None:
    photo = plain_picture(0, HEIGHT, WIDTH)
    photo[:, :2] = 255  # the left edge, which would be repeated
    view = frame_photo(photo, finder(at(135, 240)), 64, "auto").view  # reaches out by 12 pixels of 294
    assert view.landmarks is not None
    assert 0.4 < centre(view.landmarks)[0] < 0.5
    assert (view.image[..., 0] > 64).mean() < 0.02


def test_without_a_face_the_photo_is_refused() -> None:
    with pytest.raises(SourceError, match="no face found in the photo; use"):
        frame_photo(plain_picture(128, 100, 200), finder(), 64, "auto")


def test_a_landscape_has_no_face(find_in_photos: FindMeshes) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    with pytest.raises(SourceError, match="no face found"):
        frame_photo(noise, find_in_photos, 64, "auto")


def small_face(find: FindMeshes) -> Image:
    large = plain_picture(200, 1000, 1500)
    large[300:450, 800:950] = resize(load_photo(EXAMPLES / "avatar_2.jpg"), 150)
    return large


def tight_face(find: FindMeshes) -> Image:
    """Return no more than eyes, nose and mouth."""
    photo = load_photo(EXAMPLES / "avatar_2.jpg")
    (mesh,) = find(photo)
    x, y = centre(mesh) * 768
    side = 0.7 * 768 * float(np.ptp(mesh[:468, 1]))
    return crop(photo, Box(x - side / 2, y - side / 2, side, side), round(side))


@pytest.mark.parametrize(("make", "is_soft"), [(small_face, True), (tight_face, False)])
def test_faces_that_the_detector_misses_at_first_are_found(
    find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture, make: Callable[[FindMeshes], Image], is_soft: bool
) -> None:
    photo = make(find_in_photos)
    assert not find_in_photos(photo)
    with caplog.at_level(logging.WARNING):
        view = frame_photo(photo, find_in_photos, 300, "auto").view
    assert view.landmarks is not None
    assert np.all(np.abs(centre(view.landmarks) - 0.5) < 0.13)
    assert is_soft == ("the picture will be soft" in caplog.text)


@pytest.mark.parametrize("find", [None, finder(at(100, 100))])
def test_framing_none_takes_the_whole_photo(find: FindMeshes | None) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    portrait = frame_photo(photo, find, 64, "none")
    np.testing.assert_array_equal(portrait.view.image, resize(photo, 64))
    assert portrait.box == whole(photo)
    assert portrait.view.has_face
    assert (portrait.view.landmarks is None) == (find is None)
    if portrait.view.landmarks is not None:
        np.testing.assert_allclose(portrait.view.landmarks, at(100, 100), atol=1e-5)


def test_the_box_is_where_the_square_was_cut() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    portrait = frame_photo(photo, finder(at(330, 230, 100)), 128, "auto")
    np.testing.assert_array_equal(crop(photo, portrait.box, 128), portrait.view.image)


def test_of_several_faces_the_largest_is_taken_and_this_is_said(
    find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture
) -> None:
    group = plain_picture(180, 700, 1240)
    for number, (left, side) in enumerate(((20, 480), (560, 640)), 1):
        group[20 : 20 + side, left : left + side] = resize(load_photo(EXAMPLES / f"avatar_{number}.jpg"), side)
    portrait = frame_photo(group, find_in_photos, 256, "auto", "group.jpg")
    assert portrait.face_count == 2
    assert 560 < portrait.box.left + portrait.box.width / 2 < 1200
    assert [record.getMessage() for record in caplog.records] == ["group.jpg shows 2 faces; the largest is taken"]


@pytest.mark.parametrize("is_wide", [True, False])
def test_a_face_in_a_very_long_photo_is_found(find_in_photos: FindMeshes, is_wide: bool) -> None:
    face = resize(load_photo(EXAMPLES / "avatar_1.jpg"), 250)
    photo = plain_picture(150, 250, 2500) if is_wide else plain_picture(150, 2500, 250)
    photo[:250, :250] = face
    portrait = frame_photo(photo, find_in_photos, 256, "auto")
    assert portrait.view.landmarks is not None
    assert np.all(np.abs(centre(portrait.view.landmarks) - 0.5) < 0.13)


def test_messages_name_the_photo() -> None:
    with pytest.raises(SourceError, match=r"no face found in me\.jpg; use"):
        frame_photo(plain_picture(128, 100, 200), finder(), 64, "auto", "me.jpg")
