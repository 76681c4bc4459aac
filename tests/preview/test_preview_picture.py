"""What the window shows: pictures at their place, mirrored as asked, and texts that come and go without a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.pictures.images import Box
from avatarify_plus.preview.change_notice import NOTICE_S, ChangeNotice
from avatarify_plus.preview.face_outline import draw_face
from avatarify_plus.preview.help_card import HelpCard
from avatarify_plus.preview.picture import HEADING_PX, MARGIN_PX, PANEL_PX, STEADY_S, PreviewPicture
from avatarify_plus.preview.state import PreviewState
from avatarify_plus.types import Image, Size
from fakes import FakeClock, oval_mesh, plain_picture

CALL = Size(1280, 720)
LEFT = slice(MARGIN_PX, MARGIN_PX + PANEL_PX)
RIGHT = slice(2 * MARGIN_PX + PANEL_PX, -MARGIN_PX)
ROWS = slice(HEADING_PX, HEADING_PX + PANEL_PX)
CONFIG = AppConfig(avatar=(Path("a.jpg"),))


def noise(height: int, width: int, seed: int = 0) -> Image:
    """Return a coarse pattern without symmetry."""
    blocks = np.random.default_rng(seed).integers(30, 220, (height // 16, width // 16, 3), np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))


STATE = PreviewState(
    sent=noise(720, 1280),
    config=CONFIG,
    camera_view=noise(256, 256, 1),
    landmarks=oval_mesh((128, 120), 120, 256, 256),
    avatar_still=noise(256, 256, 2),
    avatar_name="Anna",
    avatar_number=2,
    avatar_count=5,
    search_score=0.87,
)


def with_config(**changes: Any) -> PreviewState:
    return STATE._replace(config=replace(CONFIG, **changes))


def drawn(state: PreviewState, size: Size = CALL) -> Image:
    return PreviewPicture(size).draw(state).copy()


def strip_of(picture: Image) -> Image:
    return picture[HEADING_PX + PANEL_PX :]


def test_both_pictures_are_mirrored_as_asked() -> None:
    plain, mirrored = drawn(with_config(mirror_preview=False)), drawn(STATE)
    for columns in (LEFT, RIGHT):
        np.testing.assert_array_equal(plain[ROWS, columns], mirrored[ROWS, columns][:, ::-1])
    halved = STATE.sent
    assert halved is not None
    np.testing.assert_allclose(plain[ROWS, RIGHT], halved.reshape(360, 2, 640, 2, 3).mean((1, 3)), atol=0.5)
    np.testing.assert_array_equal(strip_of(plain), strip_of(mirrored))


def test_the_mark_stays_readable_in_the_mirror() -> None:
    badge = Box(1100, 640, 160, 60)
    with_mark = drawn(STATE._replace(badge=badge))[ROWS, RIGHT]
    plain, mirrored = drawn(with_config(mirror_preview=False))[ROWS, RIGHT], drawn(STATE)[ROWS, RIGHT]
    rows, columns, moved = slice(320, 350), slice(550, 630), slice(640 - 630, 640 - 550)
    np.testing.assert_array_equal(with_mark[rows, moved], plain[rows, columns])
    elsewhere = np.ones((360, 640), bool)
    elsewhere[rows, moved] = False
    np.testing.assert_array_equal(with_mark[elsewhere], mirrored[elsewhere])


def test_a_mark_that_reaches_out_of_the_picture_does_no_harm() -> None:
    np.testing.assert_array_equal(drawn(STATE._replace(badge=Box(2000, 2000, 50, 50))), drawn(STATE))
    drawn(STATE._replace(badge=Box(-20, 700, 5000, 500)))


def test_the_card_is_not_mirrored_and_stands_out() -> None:
    plain = drawn(with_config(mirror_preview=False))
    hidden, shown = drawn(STATE._replace(is_panicking=True)), drawn(STATE._replace(passes_through=True))
    inner = (slice(HEADING_PX + 10, HEADING_PX + PANEL_PX - 10), slice(RIGHT.start + 10, -MARGIN_PX - 10))
    np.testing.assert_array_equal(hidden[inner], plain[inner])
    edges = {tuple(picture[HEADING_PX + 1, RIGHT.start + 300]) for picture in (hidden, shown)}
    assert len(edges) == 2
    for picture in (hidden, shown):
        assert (picture[:HEADING_PX, RIGHT] != plain[:HEADING_PX, RIGHT]).any()


def test_the_photo_is_laid_over_as_strongly_as_asked() -> None:
    mirrored_still = drawn(STATE._replace(camera_view=STATE.avatar_still))[ROWS, LEFT]
    np.testing.assert_array_equal(drawn(with_config(overlay=1.0))[ROWS, LEFT], mirrored_still)
    half = drawn(with_config(overlay=0.5))[ROWS, LEFT].astype(float)
    np.testing.assert_allclose(half, (drawn(STATE)[ROWS, LEFT] + mirrored_still.astype(float)) / 2, atol=2)
    of_other_size = with_config(overlay=0.5)._replace(avatar_still=noise(128, 128, 3))
    assert (drawn(of_other_size)[ROWS, LEFT] != half).any()


def test_the_face_is_drawn_where_it_is() -> None:
    without, shown = drawn(STATE), drawn(with_config(show_face=True))
    touched = (without != shown).any(-1)
    assert touched[ROWS, LEFT].any()
    touched[ROWS, LEFT] = False
    assert not touched.any()
    images = [plain_picture(0, 200, 200) for _ in range(2)]
    mesh = oval_mesh((60, 100), 80, 200, 200)
    for image, is_mirrored in zip(images, (False, True), strict=True):
        draw_face(image, mesh, is_mirrored, (255, 255, 255))
    columns = [image.any((0, 2)).nonzero()[0] for image in images]
    assert abs(columns[0].mean() - 60) < 2
    assert abs(columns[1].mean() - 140) < 2


def test_a_face_far_outside_does_no_harm() -> None:
    mesh = STATE.landmarks
    assert mesh is not None
    drawn(with_config(show_face=True)._replace(landmarks=mesh * 1e6))
    drawn(with_config(show_face=True)._replace(landmarks=None))


@pytest.mark.parametrize(
    "size", [CALL, Size(256, 256), Size(404, 720), Size(1920, 1080), Size(4000, 100), Size(64, 640)]
)
def test_whatever_is_laid_over_leaves_no_trace(size: Size) -> None:
    clock = FakeClock()
    preview = PreviewPicture(size, lambda: clock.now_s)
    state = STATE._replace(sent=np.resize(noise(320, 320, 4), (size.height, size.width, 3)))
    before = preview.draw(state).copy()
    assert before.shape == (preview.size.height, preview.size.width, 3)
    for disturbed in (
        state._replace(shows_help=True),
        state._replace(
            camera_trouble="webcam 0 was unplugged " * 20, outputs_trouble="the virtual camera is gone " * 9
        ),
        state._replace(camera_view=None, sent=None, landmarks=None, search_score=None),
        state._replace(is_panicking=True, passes_through=True),
        state._replace(has_face=False, is_dark=True, is_limited=True, avatar_name="漢字 " * 50),
        state._replace(config=replace(CONFIG, show_stats=True, show_face=True, zoom=1.05)),
    ):
        assert (preview.draw(disturbed) != before).any()
        clock.pass_ms(1000 * (STEADY_S + NOTICE_S))
        preview.draw(state)  # which says that the zoom is what it was
        clock.pass_ms(1000 * NOTICE_S)
        np.testing.assert_array_equal(preview.draw(state), before)


def test_it_draws_into_one_buffer_and_leaves_what_it_is_given() -> None:
    preview = PreviewPicture(CALL)
    state = with_config(overlay=0.3, show_face=True)._replace(badge=Box(10, 10, 50, 50), camera_trouble="gone")
    given = [state.sent, state.camera_view, state.avatar_still, state.landmarks]
    copies = [array.copy() for array in given if array is not None]
    assert preview.draw(state) is preview.draw(STATE)
    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("warning", [{"has_face": False}, {"is_dark": True}, {"is_limited": True}])
def test_warnings_do_not_flicker(warning: dict[str, bool]) -> None:
    clock = FakeClock()
    preview = PreviewPicture(CALL, lambda: clock.now_s)
    calm = strip_of(preview.draw(STATE)).copy()
    warned = strip_of(preview.draw(STATE._replace(**warning))).copy()
    assert (calm != warned).any()
    for _ in range(20):  # on and off, ten times a second
        clock.pass_ms(100)
        np.testing.assert_array_equal(strip_of(preview.draw(STATE)), warned)
        preview.draw(STATE._replace(**warning))
    clock.pass_ms(1000 * STEADY_S)
    np.testing.assert_array_equal(strip_of(preview.draw(STATE)), calm)


def test_a_camera_in_trouble_is_not_blamed_for_showing_nobody() -> None:
    trouble = STATE._replace(camera_trouble="webcam 0 was unplugged")
    np.testing.assert_array_equal(strip_of(drawn(trouble._replace(has_face=False))), strip_of(drawn(trouble)))


@pytest.mark.parametrize(
    "change",
    [
        {"zoom": 1.1},
        {"shift_x": -0.02},
        {"shift_y": 0.004},
        {"strength": 1.1},
        {"smoothing": 0.6},
        {"search": False},
        {"mirror_output": True},
    ],
)
def test_what_a_key_changes_is_shown_for_a_moment(change: dict[str, Any]) -> None:
    clock = FakeClock()
    preview = PreviewPicture(CALL, lambda: clock.now_s)
    before = preview.draw(STATE)[ROWS, LEFT].copy()
    changed = with_config(**change)
    assert (preview.draw(changed)[ROWS, LEFT] != before).any()
    clock.pass_ms(900 * NOTICE_S)
    assert (preview.draw(changed)[ROWS, LEFT] != before).any()
    clock.pass_ms(200 * NOTICE_S)
    np.testing.assert_array_equal(preview.draw(changed)[ROWS, LEFT], before)


def test_a_notice_goes_away_again() -> None:
    clock = FakeClock()
    preview = PreviewPicture(CALL, lambda: clock.now_s)
    before = preview.draw(STATE)[ROWS, LEFT].copy()
    preview.show_notice("this is your neutral face now")
    assert (preview.draw(STATE)[ROWS, LEFT] != before).any()
    clock.pass_ms(1000 * NOTICE_S)
    np.testing.assert_array_equal(preview.draw(STATE)[ROWS, LEFT], before)


def test_the_status_strip_shows_the_avatar_and_its_neutral_face() -> None:
    reference = strip_of(drawn(STATE))
    for state in (
        STATE._replace(avatar_name="Bert"),
        STATE._replace(avatar_number=3),
        STATE._replace(avatar_number=0),
        STATE._replace(avatar_count=1),
        STATE._replace(search_score=None),
        STATE._replace(search_score=0.5),
        with_config(search=False),
        with_config(show_stats=True)._replace(stats="29.8 fps"),
    ):
        assert (strip_of(drawn(state)) != reference).any()
    np.testing.assert_array_equal(strip_of(drawn(STATE._replace(stats="29.8 fps"))), reference)


@pytest.mark.parametrize("size", [Size(856, 360), Size(1016, 360), Size(1300, 360)])
def test_the_list_of_keys_fits(size: Size) -> None:
    image = plain_picture(0, size.height, size.width)
    HelpCard(*size).lay_over(image)
    written = image.any(-1)
    assert written.any()
    assert not written[:10].any()
    assert not written[-10:].any()
    assert not written[:, -10:].any()


def test_a_reset_says_all_that_it_changed() -> None:
    notice = ChangeNotice()
    config = AppConfig(avatar=(Path("a.jpg"),), zoom=2.0, mirror_output=True)
    notice.update(config, 0.0)
    notice.update(AppConfig(avatar=(Path("a.jpg"),)), 0.1)
    assert notice.text == "zoom 1.00, view 0 right, 0 down; others see no mirror image"
