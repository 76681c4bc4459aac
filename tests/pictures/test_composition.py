"""The picture that is sent: where the animated square goes, and what is around it."""

import cv2
import numpy as np
import pytest

from avatarify_plus.config import Fit, FrameMode
from avatarify_plus.pictures.axis import Span, photo_axis, square_axis
from avatarify_plus.pictures.composition import DARK, MAX_PX, Composition, fit_picture
from avatarify_plus.pictures.images import Box, crop
from avatarify_plus.types import Image, Size
from fakes import plain_picture

SQUARE_PX = 64
CALL = Size(320, 180)


def scenery(width: int, height: int) -> Image:
    """Return a smooth picture whose colour shows the place: red rises to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(10, 245, width), np.linspace(10, 245, height))
    return np.rint(np.stack([x, y, np.full_like(x, 90)], -1)).astype(np.uint8)


def composed(
    photo: Image, box: Box, frame: FrameMode, size: Size | None, fit: Fit = "letterbox", picture: Image | None = None
) -> Image:
    """Return the picture for a square; None takes the one that is cut out of the photo, as if nothing moved."""
    composition = Composition(photo, box, frame, size, fit, SQUARE_PX)
    image = composition.compose(crop(photo, box, SQUARE_PX) if picture is None else picture)
    assert image.shape == (composition.size.height, composition.size.width, 3)
    assert image.dtype == np.uint8
    return image


# --- sizes ---


@pytest.mark.parametrize("frame", ["head", "photo"])
@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize(
    ("wanted", "size"),
    [(Size(320, 180), (320, 180)), (Size(181, 321), (180, 320)), (Size(64, 64), (64, 64)), (Size(1, 1), (2, 2))],
)
def test_pictures_have_the_size_that_is_wanted_made_even(
    frame: FrameMode, fit: Fit, wanted: Size, size: tuple[int, int]
) -> None:
    photo, box = scenery(200, 150), Box(60.4, 30.2, 81.3, 81.3)
    composition = Composition(photo, box, frame, wanted, fit, SQUARE_PX)
    assert composition.size == size
    assert composition.compose(plain_picture(9, SQUARE_PX, SQUARE_PX)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("photo_size", "size"), [((200, 150), (200, 150)), ((201, 151), (200, 150)), ((2 * MAX_PX, 900), (MAX_PX, 450))]
)
def test_the_whole_photo_keeps_its_own_size_within_reason(photo_size: tuple[int, int], size: tuple[int, int]) -> None:
    photo = scenery(*photo_size)
    composition = Composition(photo, Box(50, 20, 90, 90), "photo", None, "letterbox", SQUARE_PX)
    assert composition.size == size


# --- head ---


def test_the_square_alone_is_passed_on_as_it_is() -> None:
    square = np.random.default_rng(0).integers(0, 256, (SQUARE_PX, SQUARE_PX, 3), np.uint8)
    image = composed(scenery(200, 150), Box(60, 30, 80, 80), "head", None, picture=square)
    np.testing.assert_array_equal(image, square)
    assert image is not square  # it will be written upon


def test_the_same_array_is_drawn_again() -> None:
    """A badge on one picture does not stay on the next."""
    composition = Composition(scenery(200, 150), Box(60, 30, 80, 80), "photo", None, "letterbox", SQUARE_PX)
    first = composition.compose(plain_picture(50, SQUARE_PX, SQUARE_PX))
    kept = first.copy()
    assert composition.compose(plain_picture(200, SQUARE_PX, SQUARE_PX)) is first
    assert not np.array_equal(first, kept)
    np.testing.assert_array_equal(composition.compose(plain_picture(50, SQUARE_PX, SQUARE_PX)), kept)


@pytest.mark.parametrize(("size", "axis"), [(CALL, 1), (Size(180, 320), 0)])
def test_a_letterboxed_head_is_whole_between_dark_bars(size: Size, axis: int) -> None:
    photo = plain_picture(200, 150, 200)
    image = composed(photo, Box(60, 30, 80, 80), "head", size, picture=plain_picture(220, SQUARE_PX, SQUARE_PX))
    levels = image.mean((1 - axis, 2))
    assert (levels[:65] < 110).all()
    assert (levels[-65:] < 110).all()
    np.testing.assert_allclose(levels[80:-80], 220, atol=1)
    assert levels.max() <= 221
    assert (np.abs(np.diff(levels)) < 60).all()  # the edge is soft


def test_bars_go_on_where_the_square_ends() -> None:
    """Beside the square, the backdrop has the photo's own colours, darker."""
    photo = scenery(400, 225)
    image = composed(photo, Box(100, 12, 200, 200), "head", CALL).astype(int)
    left, right = image[60:120, 20].mean(0), image[60:120, -20].mean(0)
    assert left[0] + 30 < right[0]  # red rises to the right
    assert abs(left[1] - right[1]) < 6
    assert image[:, 20, 1].argmin() < image[:, 20, 1].argmax()  # green rises downwards


def test_a_cropped_head_fills_the_picture_around_the_face() -> None:
    square = plain_picture(30, SQUARE_PX, SQUARE_PX)
    square[round(0.3 * SQUARE_PX) : round(0.75 * SQUARE_PX), 20:44] = 230  # a face, a little below the middle
    image = composed(scenery(200, 150), Box(60, 30, 80, 80), "head", CALL, "crop", square)
    rows = np.flatnonzero(image[:, 160, 0] > 128)
    assert image[0, 0, 0] == image[-1, -1, 0] == 30
    assert len(rows) == pytest.approx(0.45 * 320, abs=4)
    assert min(rows[0], CALL.height - 1 - rows[-1]) > 10  # neither forehead nor chin is cut off
    tall = composed(scenery(200, 150), Box(60, 30, 80, 80), "head", Size(180, 320), "crop", square)
    assert np.flatnonzero(tall[150, :, 0] > 128).mean() == pytest.approx(89.5, abs=1)


# --- photo ---


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("size", [None, CALL, Size(180, 320), Size(640, 360)])
@pytest.mark.parametrize(
    "box",
    [
        Box(60.4, 30.2, 81.3, 81.3),
        Box(-20.0, -10.0, 120.0, 120.0),
        Box(120, 60, 100, 100),
        Box(-30, -40, 260, 260),
        Box(0, 0, 200, 150),
    ],
    ids=["inside", "over the corner", "over the far corner", "larger than the photo", "not square"],
)
def test_a_square_that_does_not_move_disappears_in_the_photo(box: Box, size: Size | None, fit: Fit) -> None:
    photo = scenery(200, 150)
    composition = Composition(photo, box, "photo", size, fit, SQUARE_PX)
    around = composition.compose(plain_picture(0, SQUARE_PX, SQUARE_PX)).astype(int)
    image = composition.compose(crop(photo, box, SQUARE_PX)).astype(int)
    changed = np.abs(image - around).max(-1) > 40
    assert changed.any()
    inner = cv2.erode(changed.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    steps = [np.abs(np.diff(image, axis=axis)).max(-1) for axis in (0, 1)]
    assert steps[0][inner[1:]].max() <= 8  # smooth as the photo
    assert steps[1][inner[:, 1:]].max() <= 8
    if size is None:
        np.testing.assert_allclose(image, photo, atol=5)


def test_what_is_around_the_square_is_the_photo_untouched() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    image = composed(photo, Box(60, 30, 80, 80), "photo", None, picture=plain_picture(0, SQUARE_PX, SQUARE_PX))
    outside = np.ones((150, 200), bool)
    outside[30:110, 60:140] = False
    np.testing.assert_array_equal(image[outside], photo[outside])
    assert image[55:85, 85:115].max() == 0  # the middle is the square's alone


def test_the_seam_is_soft_where_the_photo_goes_on_and_absent_at_its_edge() -> None:
    photo = plain_picture(0, 150, 200)
    image = composed(
        photo, Box(60, 70, 80, 80), "photo", None, picture=plain_picture(200, SQUARE_PX, SQUARE_PX)
    ).astype(int)
    left, down = image[110, 50:80, 0], image[:, 100, 0]
    assert (left[0], left[-1]) == (0, 200)
    assert np.diff(left).min() >= 0
    assert np.diff(left).max() < 45
    assert (down[70], down[149]) == (pytest.approx(0, abs=5), 200)


def test_a_letterboxed_photo_is_shown_whole_and_a_cropped_one_fills_the_picture() -> None:
    photo, box = plain_picture(200, 200, 100), Box(25, 20, 50, 50)
    picture = plain_picture(200, SQUARE_PX, SQUARE_PX)
    image = composed(photo, box, "photo", CALL, "letterbox", picture)
    columns = np.flatnonzero(image.mean((0, 2)) > 150)
    assert len(columns) == pytest.approx(90, abs=4)
    assert columns.mean() == pytest.approx(159.5, abs=3)
    assert image[:, columns].min() == 200  # not even a thin bar above or below
    assert composed(photo, box, "photo", CALL, "crop", picture).min() == 200


@pytest.mark.parametrize("top", [0, 60, 149])
def test_a_cropped_photo_shows_the_face(top: int) -> None:
    photo, picture = plain_picture(0, 200, 100), plain_picture(250, SQUARE_PX, SQUARE_PX)
    image = composed(photo, Box(25, top, 50, 50), "photo", CALL, "crop", picture)
    seen = np.argwhere(image[..., 0] > 125)
    assert len(seen) > 0.5 * 160 * 160


def test_a_square_outside_the_photo_does_no_harm() -> None:
    photo = scenery(200, 150)
    image = composed(photo, Box(300, 300, 50, 50), "photo", None, picture=plain_picture(0, SQUARE_PX, SQUARE_PX))
    np.testing.assert_array_equal(image, photo)


def test_a_small_head_is_averaged_down() -> None:
    """Stripes of one pixel become grey instead of a pattern of their own."""
    stripes = plain_picture(0, SQUARE_PX, SQUARE_PX)
    stripes[:, ::2] = 255
    image = composed(plain_picture(127, 150, 200), Box(80, 50, 30, 30), "photo", None, picture=stripes)
    np.testing.assert_allclose(image[60:70, 90:100], 127, atol=45)


# --- along one axis ---


def test_along_an_axis_square_and_photo_meet() -> None:
    for covers in (False, True):
        axis = photo_axis(300, 41.0, 97.0, 0.83, 240, covers)
        assert axis.square.start == pytest.approx(axis.scale * 41 + axis.shift)
        assert axis.square.end == pytest.approx(axis.scale * (41 + 97) + axis.shift)
        assert axis.scale == pytest.approx(0.83, rel=0.02)


def test_a_square_alone_lies_in_the_middle_or_around_its_centre() -> None:
    assert square_axis(0, 50, 100, 300, 0.6).square == Span(100, 200)
    assert square_axis(0, 50, 300, 100, 0.5).square == Span(-100, 200)
    assert square_axis(0, 50, 300, 100, 0.6).square == Span(-130, 170)
    assert square_axis(0, 50, 300, 100, 1.0).square == Span(-200, 100)  # never beyond its edge


# --- the camera as it is ---


@pytest.mark.parametrize("size", [CALL, Size(180, 320), Size(64, 48), Size(1280, 720)])
def test_a_camera_picture_is_fitted(size: Size) -> None:
    photo = plain_picture(200, 48, 64)
    cropped, boxed = (fit_picture(photo, size, fit) for fit in ("crop", "letterbox"))
    assert cropped.shape == boxed.shape == (size.height, size.width, 3)
    assert cropped.min() == 200
    is_photo = boxed[..., 0] == 200
    assert ((boxed == DARK).all(-1) | is_photo).all()
    assert is_photo.sum() == pytest.approx(min(size.width**2 * 0.75, size.height**2 / 0.75), rel=0.02)


def test_a_fitted_picture_of_the_same_size_is_the_same() -> None:
    photo = scenery(64, 48)
    for fit in ("crop", "letterbox"):
        np.testing.assert_array_equal(fit_picture(photo, Size(64, 48), fit), photo)
    middle = fit_picture(scenery(400, 100), Size(100, 100), "crop")[50, 50]
    np.testing.assert_allclose(middle, scenery(400, 100)[50, 200], atol=2)
