"""The avatar's square: as in training, whatever the photo."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from meshes import HEIGHT, WIDTH, at, centre

from avatarify_plus.config import FramingMode
from avatarify_plus.errors import SourceError
from avatarify_plus.face.driver_framing import SIDE_PER_FACE, square_around
from avatarify_plus.face.photo_framing import (
    FindMeshes,
    Surroundings,
    face_scorer,
    faces_finder,
    find_faces,
    frame_photo,
    upright,
)
from avatarify_plus.pictures.images import Box, crop, load_photo, resize, whole
from avatarify_plus.pictures.photo_region import square_of
from avatarify_plus.types import FloatArray, Image
from fakes import EXAMPLES, face_mesh, oval_mesh, plain_picture


def finder(*meshes: FloatArray, height: int = HEIGHT, width: int = WIDTH) -> FindMeshes:
    """Return a finder that gives these faces for the whole photo, and none for its parts."""
    return lambda image: list(meshes) if image.shape[:2] == (height, width) else []


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


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
@pytest.mark.parametrize("parts", [1, 4, 8, 12])
@pytest.mark.parametrize("place", [(0.5, 0.3), (0.1, 0.8)])
def test_a_small_face_in_a_large_photo_gets_the_square_of_its_own_photo(
    find_in_photos: FindMeshes, name: str, parts: int, place: tuple[float, float]
) -> None:
    """In the whole, its mesh is too large by up to a half and askew, if it is found at all."""
    own = load_photo(EXAMPLES / name)
    side = 1600 // parts
    large = np.random.default_rng(0).normal(120, 12, (1600, 2400, 3)).clip(0, 255).astype(np.uint8)
    left, top = round(place[0] * (2400 - side)), round(place[1] * (1600 - side))
    large[top : top + side, left : left + side] = resize(own, side)
    (mesh,), (found,) = find_faces(own, find_in_photos), find_faces(large, find_in_photos)
    wanted, square = square_around(mesh), square_around(found)
    scale = side / own.shape[0]
    assert square.width == pytest.approx(scale * wanted.width, rel=0.02)
    off = (
        np.subtract(square[:2], np.multiply(scale, wanted[:2]) + np.array([left, top]))
        + (square.width - scale * wanted.width) / 2
    )
    assert np.abs(off).max() < 0.02 * square.width


def group_photo() -> tuple[Image, list[tuple[float, float]]]:
    """Return twelve people, and where their heads are, those in front first."""
    group = plain_picture(130, 1200, 2000)
    places = []
    for row in (2, 1, 0):
        side = 160 + 70 * row
        for column in range(4):
            left, top = 60 + 480 * column + 40 * row, 30 + 390 * row
            group[top : top + side, left : left + side] = resize(load_photo(EXAMPLES / f"avatar_{1 + row}.jpg"), side)
            places.append((left + side / 2, top + side / 2))
    return group, places


def test_every_face_of_a_group_is_found_the_largest_first(find_in_photos: FindMeshes) -> None:
    group, places = group_photo()
    faces = find_faces(group, find_in_photos)
    assert len(faces) == len(places) == 12
    lengths = [float(np.ptp(face[:, 1])) for face in faces]
    for first in (0, 4, 8):  # those of a row are equally large
        found = sorted(centre(face)[0] for face in faces[first : first + 4])
        np.testing.assert_allclose(found, [x for x, _ in places[first : first + 4]], atol=30)
    assert lengths[3] > 1.1 * lengths[4] and lengths[7] > 1.1 * lengths[8]


def test_a_face_of_a_group_is_chosen_by_its_number(
    find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture
) -> None:
    group = plain_picture(180, 700, 1240)
    for number, (left, side) in enumerate(((20, 480), (560, 640)), 1):
        group[20 : 20 + side, left : left + side] = resize(load_photo(EXAMPLES / f"avatar_{number}.jpg"), side)

    def middle(face: int | None) -> float:
        portrait = frame_photo(group, find_in_photos, 256, "auto", "group.jpg", face=face)
        assert portrait.face_count == 2
        return portrait.box.left + portrait.box.width / 2

    assert 560 < middle(None) < 1200
    assert [record.getMessage() for record in caplog.records] == [
        "group.jpg shows 2 faces; the largest, number 1, is taken: --face 2 takes the second largest, and --list-faces "
        "OUT.png writes the photo with its faces numbered"
    ]
    assert middle(1) == middle(None) and middle(2) < 500
    assert len(caplog.records) == 2, "who chooses is not told that there is a choice"
    for face in (0, 3):
        with pytest.raises(SourceError, match=rf"group\.jpg shows 2 faces, and number {face} was asked .* from 1 to 2"):
            middle(face)


def test_what_is_no_face_from_near_does_not_count() -> None:
    """Here the finder sees one face in the whole and a second one only there."""
    true, false = at(150, 120, 100), at(450, 300, 140)

    def find(image: Image) -> list[FloatArray]:
        if image.shape[:2] == (HEIGHT, WIDTH):
            return [false, true]
        is_near = 230 < len(image) < 260 and image.mean() > 50
        return [oval_mesh((len(image) / 2, len(image) / 2), 100, len(image), len(image))] if is_near else []

    photo = plain_picture(0, HEIGHT, WIDTH)
    photo[20:220, 40:260] = 255  # where the true one is
    (found,) = find_faces(photo, find)
    assert np.abs(centre(found) - (150, 120)).max() < 15


@pytest.mark.parametrize(
    ("box", "missing"),
    [((0.0, 0.0, 1.0, 1.0), ""), ((0.0, 0.0, 1.0, 0.42), "chin"), ((0.0, 0.38, 1.0, 0.62), "forehead")],
)
def test_a_face_that_is_cut_off_is_told_with_what_to_do(
    find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture, box: tuple[float, ...], missing: str
) -> None:
    photo = load_photo(EXAMPLES / "avatar_2.jpg")
    (mesh,) = find_faces(photo, find_in_photos)
    left, top, wide, high = (round(768 * share) for share in box)
    if missing == "chin":
        high = round(float(mesh[152, 1] - 0.12 * np.ptp(mesh[:468, 1])))
    elif missing == "forehead":
        top = round(float(mesh[10, 1] + 0.15 * np.ptp(mesh[:468, 1])))
        high = 768 - top
    part = np.ascontiguousarray(photo[top : top + high, left : left + wide])
    frame_photo(part, find_in_photos, 256, "auto", "her photo")
    told = [record.message for record in caplog.records]
    assert told == (
        [
            f"the face in her photo is cut off by the photo's edge ({missing}), and what is missing is made up: use a "
            "photo that shows the whole head, with some space around it"
        ]
        if missing
        else []
    )


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


# --- what lies around the square ---


def test_a_region_and_the_square_in_it_agree() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    framed = frame_photo(photo, finder(at(350, 220)), 64, "auto", surroundings=Surroundings(1.5, 512))
    box, view = framed.box, framed.view
    assert view.photo is not None and view.landmarks is not None
    side = int(box.width)
    assert box == (int(box.left), int(box.top), side, side) and side % 4 == 0
    assert view.photo.picture.shape == (side * 3 // 2, side * 3 // 2, 3), "as many pixels as the photo has there"
    square = square_of(view.photo.picture, 1.5)
    np.testing.assert_array_equal(square, photo[int(box.top) :, int(box.left) :][:side, :side])
    np.testing.assert_array_equal(view.image, resize(square, 64))
    np.testing.assert_allclose(centre(view.landmarks) * side + box[:2], (350, 220), atol=1)


def test_a_region_has_no_more_pixels_than_wished_and_no_fewer_than_the_model() -> None:
    photo = plain_picture(100, HEIGHT, WIDTH)
    for max_px, side in ((128, 128), (130, 128), (16, 64)):
        view = frame_photo(photo, finder(at(350, 220)), 64, "auto", surroundings=Surroundings(1.5, max_px)).view
        assert view.photo is not None and view.photo.picture.shape[0] == side * 3 // 2
    view = frame_photo(photo, finder(at(350, 220, 60)), 256, "auto", surroundings=Surroundings(1.5, 512)).view
    assert view.photo is not None and view.photo.picture.shape[0] == 384


@pytest.mark.parametrize("mode", ["auto", "none"])
@pytest.mark.parametrize("place", [(5, 5), (635, 475), (320, 2)])
def test_faces_at_the_photos_edge_have_surroundings(mode: FramingMode, place: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    view = frame_photo(photo, finder(at(*place)), 64, mode, surroundings=Surroundings(1.5, 512)).view
    assert view.photo is not None and view.photo.picture.shape[0] == view.photo.picture.shape[1]
    assert view.image.shape == (64, 64, 3)


def test_without_a_mesh_the_whole_photo_has_surroundings_too() -> None:
    view = frame_photo(plain_picture(100, HEIGHT, WIDTH), None, 64, "none", surroundings=Surroundings(1.5, 512)).view
    assert view.photo is not None and view.photo.picture.shape == (768, 768, 3)
    assert frame_photo(plain_picture(100, HEIGHT, WIDTH), None, 64, "none").view.photo is None


@pytest.mark.parametrize("name", ["avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg"])
@pytest.mark.parametrize("turns", range(4))
def test_a_photo_that_lies_or_stands_on_its_head_is_turned(
    find_in_photos: FindMeshes, name: str, turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    photo = load_photo(EXAMPLES / name)
    with face_scorer(True) as score:
        found = upright(np.ascontiguousarray(np.rot90(photo, -turns)), find_in_photos, score, "my photo")
    np.testing.assert_array_equal(found, photo)
    assert [record.message for record in caplog.records] == (
        [f"my photo is turned by {90 * turns} degrees: its face does not stand upright"] if turns else []
    )


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_small_face_turns_its_photo_too(find_in_photos: FindMeshes, number: int, turns: int) -> None:
    """One that the detector hardly sees in the whole: it is asked from near."""
    photo = plain_picture(130, 900, 1400)
    photo[300:420, 700:820] = resize(load_photo(EXAMPLES / f"avatar_{number}.jpg"), 120)
    with face_scorer(True) as score:
        assert score is not None and score(photo) < 0.5
        found = upright(np.ascontiguousarray(np.rot90(photo, -turns)), find_in_photos, score)
    np.testing.assert_array_equal(found, photo)
    assert upright(photo, find_in_photos, None) is photo


def test_a_photo_without_a_face_is_left_as_it_is(find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    with face_scorer(True) as score:
        assert upright(noise, find_in_photos, score) is noise
    assert not caplog.records


def test_a_photo_that_is_cut_close_to_the_face_is_told(
    find_in_photos: FindMeshes, caplog: pytest.LogCaptureFixture
) -> None:
    photo = load_photo(EXAMPLES / "avatar_2.jpg")
    (mesh,) = find_faces(photo, find_in_photos)
    (left, top), (right, bottom) = mesh[:, :2].min(0).round().astype(int), mesh[:, :2].max(0).round().astype(int)
    frame_photo(np.ascontiguousarray(photo[top:bottom, left:right]), find_in_photos, 256, "auto", "her photo")
    (told,) = (record.message for record in caplog.records)
    assert "% of the square around the face in her photo lie outside of the photo and are made up: use a photo" in told


def test_a_profile_is_told(caplog: pytest.LogCaptureFixture) -> None:
    photo = plain_picture(90, 200, 200)
    for yaw in (0.3, 1.0):
        frame_photo(
            photo, finder(face_mesh((100, 100), 90, 200, 200, yaw=yaw), height=200, width=200), 64, "auto", "her photo"
        )
    told = [record.message.split(",")[0] for record in caplog.records]
    assert told == ["the face in her photo is turned far to the side"]
