"""The guided minute before a camera: the film holds what the camera gave, and every way out leaves order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest

from avatarify_plus.adapt import webcam_film
from avatarify_plus.adapt.expressions import Need
from avatarify_plus.adapt.guided_minute import MORE, STEPS, Moment
from avatarify_plus.adapt.webcam_film import _CameraFilm, _record, describe, record_guided_minute
from avatarify_plus.errors import CameraError, SinkError
from avatarify_plus.pictures.text import ELLIPSIS
from avatarify_plus.preview.keys import Command, Press
from avatarify_plus.types import FloatArray, Frame, Image, Size
from fakes import EXAMPLES, plain_picture, read_video
from films import times_of
from persons import acting, calm_face

DRIVER = str(EXAMPLES / "driver.mp4")
FPS = 10
MOMENT = Moment(STEPS[1], 7.2, frozenset({Need.LEFT, Need.UP}), True, False)


class FakeCamera:
    """Give pictures at their times; what comes after the last depends on `is_lost`."""

    name = "webcam 0"
    rate = Fraction(FPS)
    count: int | None = None
    is_live = True
    skipped_count = 0

    def __init__(self, pictures: list[Image], interval_s: float = 1 / FPS, is_lost: bool = False) -> None:
        self._pictures = pictures
        self._interval_s = interval_s
        self._is_lost = is_lost
        self.trouble: str | None = None

    def __enter__(self) -> FakeCamera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        for index, picture in enumerate(self._pictures):
            if stop.is_set():
                return
            yield Frame(picture, index, 100 + index * self._interval_s)
        if self._is_lost:
            self.trouble = "webcam 0 was unplugged"
            for _ in range(100):
                yield None
            raise AssertionError("a lost webcam is waited for for ever")


class Person:
    """Stands for the mesh's search: a face that does as it is asked, in [0, 1] of a picture."""

    def __init__(self, size: Size, face: Callable[[Moment | None, float], FloatArray | None]) -> None:
        self._size = size
        self._face = face
        self._count = 0
        self.asked: Moment | None = None

    def find(self, image: Image) -> FloatArray | None:
        face = self._face(self.asked, self._count / FPS)
        self._count += 1
        return None if face is None else face / np.array([self._size.width, self._size.height, self._size.width])

    def listen(self, moment: Moment) -> None:
        self.asked = moment


def calm(moment: Moment | None, time_s: float) -> FloatArray:
    return calm_face()


def obedient(moment: Moment | None, time_s: float) -> FloatArray:
    step = STEPS[0] if moment is None else moment.step
    return acting(step.needs[int(time_s) % len(step.needs)], time_s)


def absent(moment: Moment | None, time_s: float) -> None:
    return None


def pictures_of(count: int, width: int = 64, height: int = 48) -> list[Image]:
    return [plain_picture(40 + 20 * (index % 8), height, width) for index in range(count)]


def test_an_obedient_person_is_recorded_to_the_end(tmp_path: Path) -> None:
    path, stop = tmp_path / "minute.mp4", threading.Event()
    person, moments = Person(Size(64, 48), obedient), []

    def tell(moment: Moment) -> None:
        person.listen(moment)
        moments.append(moment)

    with _CameraFilm(path) as film:
        tally = _record(FakeCamera(pictures_of(70 * FPS)), person.find, film, stop, tell, None)
    assert moments[-1].is_over and not tally.missing and not stop.is_set()
    assert len(moments) == pytest.approx(tally.seconds * FPS, abs=3)
    assert times_of(path)[-1] > 0.8 * tally.seconds


def test_a_wide_picture_does_not_distort_the_face(tmp_path: Path) -> None:
    size = Size(192, 48)
    person = Person(size, obedient)
    with _CameraFilm(tmp_path / "minute.mp4") as film:
        pictures = pictures_of(70 * FPS, *size)
        assert not _record(FakeCamera(pictures), person.find, film, threading.Event(), person.listen, None).missing


def test_the_film_holds_every_picture_at_its_time(tmp_path: Path) -> None:
    path, pictures = tmp_path / "minute.mkv", pictures_of(6, 65, 49)
    with _CameraFilm(path) as film:
        person = Person(Size(65, 49), calm)
        _record(FakeCamera(pictures, 0.15), person.find, film, threading.Event(), person.listen, None)
    assert times_of(path) == pytest.approx([0.15 * index for index in range(6)], abs=2e-3)
    recorded, _ = read_video(path)
    assert [picture.shape for picture in recorded] == 6 * [(48, 64, 3)], "films have even sizes"
    assert [picture.mean() for picture in recorded] == pytest.approx([picture.mean() for picture in pictures], abs=3)


def test_a_file_stands_for_the_webcam(tmp_path: Path) -> None:
    path, stop, moments = tmp_path / "minute.mp4", threading.Event(), []

    def tell(moment: Moment) -> None:
        moments.append(moment)
        if len(moments) == 8:
            stop.set()

    tally = record_guided_minute(DRIVER, path, stop, tell, has_window=False)
    assert all(moment.has_face and moment.step is STEPS[0] for moment in moments)
    assert 0 < tally.seconds < STEPS[0].seconds - moments[-1].seconds_left + 0.1
    recorded, _ = read_video(path)
    assert recorded[0].shape == (480, 640, 3)
    original = read_first(DRIVER)
    assert np.abs(recorded[0].astype(float) - original).mean() < 4, "the camera's own picture, not mirrored"


def read_first(path: str) -> Image:
    return read_video(Path(path))[0][0]


def test_whoever_is_not_there_leaves_no_film(tmp_path: Path) -> None:
    path = tmp_path / "minute.mp4"
    with pytest.raises(CameraError, match="no face was seen for 60 s"), _CameraFilm(path) as film:
        person = Person(Size(64, 48), absent)
        _record(FakeCamera(pictures_of(70), 1.0), person.find, film, threading.Event(), person.listen, None)
    assert list(tmp_path.iterdir()) == []


def test_a_camera_that_is_not_there_leaves_the_film_before(tmp_path: Path) -> None:
    path = tmp_path / "minute.mp4"
    path.write_bytes(b"before")
    with pytest.raises(CameraError, match=r"there is no driver .*gone\.mp4"):
        record_guided_minute(str(tmp_path / "gone.mp4"), path, threading.Event(), lambda moment: None)
    assert path.read_bytes() == b"before"
    path.unlink()
    with pytest.raises(CameraError):
        record_guided_minute(str(tmp_path / "gone.mp4"), path, threading.Event(), lambda moment: None)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported_before_the_camera_is_opened(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="there is no folder"):
        record_guided_minute("no camera", tmp_path / "gone" / "minute.mp4", threading.Event(), lambda moment: None)


def test_a_lost_webcam_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam_film, "LOST_S", 0.0)
    person = Person(Size(64, 48), calm)
    with pytest.raises(CameraError, match="webcam 0 was lost"), _CameraFilm(tmp_path / "minute.mp4") as film:
        camera = FakeCamera(pictures_of(3), is_lost=True)
        _record(camera, person.find, film, threading.Event(), person.listen, None)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_size_end_it_with_one_line(tmp_path: Path) -> None:
    person = Person(Size(64, 48), calm)
    with pytest.raises(CameraError, match="from 64x48 to 96x48"), _CameraFilm(tmp_path / "minute.mp4") as film:
        camera = FakeCamera([*pictures_of(2), *pictures_of(1, 96, 48)])
        _record(camera, person.find, film, threading.Event(), person.listen, None)


@pytest.mark.parametrize("at", [0, 5])
def test_a_stop_leaves_what_was_recorded(at: int, tmp_path: Path) -> None:
    path, stop, moments = tmp_path / "minute.mp4", threading.Event(), []

    def tell(moment: Moment) -> None:
        moments.append(moment)
        if len(moments) == at:
            stop.set()

    if at == 0:
        stop.set()
    with _CameraFilm(path) as film:
        tally = _record(FakeCamera(pictures_of(20)), Person(Size(64, 48), calm).find, film, stop, tell, None)
    assert len(moments) == at and tally.seconds == pytest.approx(max(at - 1, 0) / FPS)
    assert path.exists() == (at > 0)
    assert at == 0 or len(read_video(path)[0]) == at


def test_an_interruption_leaves_a_whole_film(tmp_path: Path) -> None:
    path, moments = tmp_path / "minute.mp4", []

    def tell(moment: Moment) -> None:
        moments.append(moment)
        if len(moments) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), _CameraFilm(path) as film:
        camera = FakeCamera(pictures_of(20))
        _record(camera, Person(Size(64, 48), calm).find, film, threading.Event(), tell, None)
    assert len(read_video(path)[0]) == 4


class FakeWindow:
    """Remembers what it shows; the user closes it after the third picture."""

    shown: list[Image]
    is_closed: bool

    def __init__(self) -> None:
        type(self).shown, type(self).is_closed = [], False

    def show(self, image: Image) -> None:
        self.shown.append(image)

    def presses(self) -> list[Press]:
        return [Press(Command.MOUTH, 1), *([Press(Command.QUIT)] if len(self.shown) == 3 else [])]

    def close(self) -> None:
        type(self).is_closed = True


def test_the_window_shows_a_mirror_and_ends_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam_film, "PreviewWindow", FakeWindow)
    path, stop = tmp_path / "minute.mp4", threading.Event()
    record_guided_minute(DRIVER, path, stop, lambda moment: None)
    assert stop.is_set() and FakeWindow.is_closed
    assert len(FakeWindow.shown) == 3 == len(read_video(path)[0])
    card, original = FakeWindow.shown[0], read_first(DRIVER)
    assert np.abs(card[-480:, :640].astype(float) - original[:, ::-1]).mean() < 4
    assert card[:-480].max() > 200, "text stands above the picture"


def test_pictures_are_handed_out_instead_of_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam_film, "PreviewWindow", lambda: pytest.fail("no window is wanted"))
    path, stop, shown = tmp_path / "minute.mp4", threading.Event(), []

    def show(image: Image, moment: Moment) -> bool:
        shown.append((image, moment))
        return len(shown) < 3

    moments: list[Moment] = []
    record_guided_minute(DRIVER, path, stop, moments.append, show=show)
    assert stop.is_set() and len(read_video(path)[0]) == 3
    assert [moment for _, moment in shown] == moments
    assert np.array_equal(shown[0][0], read_first(DRIVER))


def test_a_missing_screen_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_screen() -> FakeWindow:
        raise SinkError("there is no screen")

    monkeypatch.setattr(webcam_film, "PreviewWindow", no_screen)
    stop, path = threading.Event(), tmp_path / "minute.mp4"
    record_guided_minute(DRIVER, path, stop, lambda moment: stop.set())
    assert len(read_video(path)[0]) == 1


def test_the_card_has_room_for_each_text() -> None:
    card, narrowest = webcam_film._Card(), webcam_film.MIN_CARD_PX
    texts = [*(step.text for step in STEPS), "; ".join(MORE[need] for need in STEPS[1].needs)]
    lines = [card.lines_of(text, narrowest) for text in texts]
    assert max(map(len, lines)) <= webcam_film.LINES
    assert not any(ELLIPSIS in line for each in lines for line in each), "nothing is cut off"


@pytest.mark.parametrize("size", [Size(320, 240), Size(1920, 1080), Size(720, 1280)], ids=str)
def test_the_card_shows_the_whole_picture(size: Size) -> None:
    drawn = webcam_film._Card().draw(plain_picture(255, size.height, size.width), MOMENT)
    shown = (drawn == 255).all(2)
    scale = min(webcam_film.SHOWN_PX / max(size), 1)
    assert shown.sum() == pytest.approx(scale**2 * size.width * size.height, rel=0.01)
    assert drawn.shape[1] == max(round(scale * size.width), webcam_film.MIN_CARD_PX)


def test_a_moment_is_described_in_one_line() -> None:
    assert describe(MOMENT) == (
        "turn: 8 s left; seen: the head turned left, the head raised; not yet: the head turned right, the head lowered"
    )
    assert describe(MOMENT._replace(step=STEPS[2], shown=frozenset())) == "read: 8 s left; not yet: talking"
    assert describe(MOMENT._replace(has_face=False)) == "waiting: no face is seen"
    assert describe(MOMENT._replace(is_over=True)) == "done"
