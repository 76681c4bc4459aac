"""The newest frame only, and a camera that comes back however it was lost."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from avatarify_plus.camera import LiveCamera, PictureReader, live_camera
from avatarify_plus.camera.live_camera import MAX_HANGING, RETRY_S, STALL_S
from avatarify_plus.errors import CameraError
from avatarify_plus.types import Frame, Image
from fakes import FakeClock, FakeReader, plain_picture

COUNT = 12
MOMENT_S = 0.01
LONG_S = 5.0


def levels(count: int = COUNT) -> list[Image]:
    return [plain_picture(20 * index) for index in range(count)]


class Broken(FakeReader):
    """Fails after its last picture."""

    def read(self) -> Image | None:
        picture = super().read()
        if picture is None:
            raise CameraError("fake camera gives no pictures any more; check its cable")
        return picture


class FakeReopenable:
    """Opens what it is given, one reader after the other; an error is raised, a function is called."""

    patience_s = 2.0

    def __init__(self, *readers: PictureReader | CameraError | Callable[[], PictureReader]) -> None:
        self.name = "webcam 0 (Fake)"
        self.what_happened = "was unplugged"
        self.open_count = 0
        self.threads: list[threading.Thread] = []
        self._readers = iter(readers)

    def open(self) -> PictureReader:
        self.open_count += 1
        self.threads.append(threading.current_thread())
        reader = next(self._readers, CameraError("not there"))
        if isinstance(reader, CameraError):
            raise reader
        return reader() if callable(reader) else reader

    def describe_outage(self) -> str:
        return self.what_happened


def newest(live: LiveCamera) -> Frame:
    """Return the next frame, however long it takes."""
    frame = live.latest(LONG_S)
    assert frame is not None
    return frame


def until(live: LiveCamera, condition: Callable[[], object]) -> None:
    """Let the loop go on without frames until something has come true."""
    for _ in range(int(LONG_S / MOMENT_S)):
        assert live.latest(MOMENT_S) is None
        if condition():
            return
    pytest.fail("it never came true")


# --- one slot ---


def test_the_newest_frame_wins_and_skipped_ones_are_counted() -> None:
    hold, first_taken = threading.Event(), threading.Event()

    def pictures() -> Iterator[Image]:
        yield levels()[0]
        first_taken.wait(LONG_S)
        yield from levels()[1:10]

    reader = FakeReader(pictures(), hold=hold)
    with LiveCamera(reader) as live:
        first = newest(live)
        first_taken.set()
        assert reader.exhausted.wait(LONG_S)
        frame = newest(live)
        assert (first.index, frame.index, live.skipped_count) == (0, 9, 8)
        np.testing.assert_array_equal(frame.image, levels()[9])
        assert live.latest(MOMENT_S) is None  # never the same frame twice
        hold.set()
    assert reader.close_count == 1


def test_nothing_is_captured_before_it_is_wanted() -> None:
    reader = FakeReader(levels())
    with LiveCamera(reader):
        assert not reader.exhausted.wait(0.05)
    assert reader.close_count == 1


def test_frames_are_in_order_and_account_for_all() -> None:
    """The loop takes every third picture or so."""
    turn = threading.Semaphore(0)

    def slow_pictures() -> Iterator[Image]:
        for picture in levels():
            turn.acquire(timeout=LONG_S)
            yield picture

    frames: list[Frame] = []
    with LiveCamera(FakeReader(slow_pictures())) as live:
        for frame in live.frames(threading.Event()):
            turn.release(3)
            frames += [] if frame is None else [frame]
    indices = [frame.index for frame in frames]
    times = [frame.captured_at for frame in frames]
    assert indices == sorted(set(indices))
    assert indices[-1] == COUNT - 1
    assert len(frames) + live.skipped_count == COUNT
    assert all(early < late for early, late in itertools.pairwise(times))


def test_pictures_are_passed_on_as_they_are() -> None:
    """Black, and of another size than before: framing can live with it."""
    turn = threading.Semaphore(1)

    def pictures() -> Iterator[Image]:
        for picture in (plain_picture(90), plain_picture(0), plain_picture(90, 120, 160)):
            turn.acquire(timeout=LONG_S)
            yield picture

    shapes = []
    with LiveCamera(FakeReader(pictures())) as live:
        for frame in live.frames(threading.Event()):
            if frame is not None:
                shapes.append((*frame.image.shape[:2], int(frame.image.mean())))
                turn.release()
    assert shapes == [(48, 64, 90), (48, 64, 0), (120, 160, 90)]


def test_without_a_new_frame_the_loop_gets_its_turn() -> None:
    hold, stop = threading.Event(), threading.Event()
    with LiveCamera(FakeReader(levels(1), hold=hold)) as live:
        frames = list(itertools.islice(live.frames(stop), 4))
        hold.set()
    assert [frame is None for frame in frames] == [False, True, True, True]


def test_stop_ends_the_frames() -> None:
    hold, stop = threading.Event(), threading.Event()
    with LiveCamera(FakeReader(levels(3), hold=hold)) as live:
        stop.set()
        assert list(live.frames(stop)) == []
        stop.clear()
        threading.Timer(0.05, stop.set).start()
        assert len([frame for frame in live.frames(stop) if frame]) <= 3  # returns although the camera is silent
        hold.set()


# --- without a reopenable, or before the first picture, a failure is the end ---


def test_a_failing_camera_is_reported_after_its_last_frame() -> None:
    reader = Broken(levels(1))
    with LiveCamera(reader) as live, pytest.raises(CameraError, match="no pictures any more"):
        list(live.frames(threading.Event()))
    assert reader.close_count == 1


def test_a_webcam_that_never_gives_a_picture_is_not_looked_for() -> None:
    reader, reopenable = Broken([]), FakeReopenable()
    with LiveCamera(reader, reopenable) as live, pytest.raises(CameraError, match="no pictures any more"):
        list(live.frames(threading.Event()))
    assert (reader.close_count, reopenable.open_count) == (1, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unforeseen_failure_does_not_leave_the_loop_waiting() -> None:
    class Buggy(FakeReader):
        def read(self) -> Image | None:
            raise ZeroDivisionError

    with LiveCamera(Buggy([])) as live, pytest.raises(CameraError, match="broke off"):
        list(live.frames(threading.Event()))


def test_a_silent_camera_is_given_up_and_closing_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_camera, "CLOSE_S", 0.05)
    hold, clock = threading.Event(), FakeClock()
    reader = FakeReader([], hold=hold)
    with LiveCamera(reader, FakeReopenable(), clock) as live:
        assert live.latest(MOMENT_S) is None
        clock.now_s += STALL_S - 0.1
        assert live.latest(MOMENT_S) is None
        clock.now_s += 0.2
        with pytest.raises(CameraError, match=r"gave no picture for 8 s.*start again"):
            live.latest(MOMENT_S)
    assert reader.close_count == 0  # closing a device under a hanging read would crash
    assert "hangs and is left to the operating system" in caplog.text
    hold.set()


# --- lost and found ---


def test_an_unplugged_webcam_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, before, after = FakeClock(), Broken(levels(2)), Broken(levels(3), hold=threading.Event())
    reopenable = FakeReopenable(CameraError("not there"), CameraError("not there"), after)
    trouble = "webcam 0 (Fake) was unplugged; looking for it every second"
    with LiveCamera(before, reopenable, clock) as live:
        frames = [newest(live)]
        while live.trouble is None:
            frames += [frame for frame in [live.latest(MOMENT_S)] if frame is not None]
        assert live.trouble == trouble
        assert before.close_count == 1
        assert reopenable.open_count == 0  # not before a second has passed
        for tries in (1, 2):
            clock.now_s += RETRY_S
            until(live, lambda tries=tries: reopenable.open_count == tries and live._read_thread is None)
            assert live.trouble == trouble
        clock.now_s += RETRY_S
        assert live.latest(MOMENT_S) is None
        frames.append(newest(live))
        assert live.trouble is None
        after._hold.set()  # type: ignore[union-attr]
    indices, times = [frame.index for frame in frames], [frame.captured_at for frame in frames]
    assert indices == sorted(set(indices))
    assert times == sorted(times)
    assert not {threading.current_thread()} & set(reopenable.threads)  # opening may take long
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert logged == [("WARNING", trouble), ("INFO", "webcam 0 (Fake) is back")]


def test_a_webcam_may_come_back_under_another_name_and_size() -> None:
    clock = FakeClock()
    reopenable = FakeReopenable(FakeReader([plain_picture(9, 120, 160)]))
    with LiveCamera(Broken(levels(1)), reopenable, clock) as live:
        newest(live)
        until(live, lambda: live.trouble)
        clock.now_s += RETRY_S
        reopenable.name = "webcam 2 (Fake)"
        until_frame = (frame for frame in live.frames(threading.Event()) if frame is not None)
        assert next(until_frame).image.shape == (120, 160, 3)
        assert live.name == "webcam 2 (Fake)"


def test_a_read_that_hangs_is_left_behind_and_what_it_gives_later_is_not_shown() -> None:
    clock, hold = FakeClock(), threading.Event()
    closed = threading.Event()

    class Hanging(FakeReader):
        def close(self) -> None:
            super().close()
            closed.set()

    def pictures() -> Iterator[Image]:
        yield plain_picture(10)
        hold.wait(LONG_S)
        yield plain_picture(66)

    before = Hanging(pictures())
    after_hold = threading.Event()
    with LiveCamera(before, FakeReopenable(FakeReader([plain_picture(20)], hold=after_hold)), clock) as live:
        newest(live)
        clock.now_s += FakeReopenable.patience_s - 0.1
        assert live.latest(MOMENT_S) is None
        assert live.trouble is None  # webcams may be slow
        clock.now_s += 0.2
        until(live, lambda: live.trouble)
        assert live.trouble == "webcam 0 (Fake) has given no picture for 2 s; looking for it every second"
        clock.now_s += RETRY_S
        assert live.latest(MOMENT_S) is None
        assert int(newest(live).image.mean()) == 20
        assert before.close_count == 0
        hold.set()  # now the old one wakes up
        assert closed.wait(LONG_S)
        assert live.latest(MOMENT_S) is None
        after_hold.set()
    assert before.close_count == 1


def test_opening_that_hangs_is_left_behind_but_not_without_end() -> None:
    clock, hold = FakeClock(), threading.Event()
    opened = [FakeReader(levels(1)) for _ in range(MAX_HANGING)]

    def hang(reader: PictureReader) -> PictureReader:
        hold.wait(LONG_S)
        return reader

    slow = [lambda reader=reader: hang(reader) for reader in opened]
    reopenable = FakeReopenable(*slow, FakeReader([plain_picture(33)], hold=hold))
    with LiveCamera(Broken(levels(1)), reopenable, clock) as live:
        newest(live)
        until(live, lambda: live.trouble)
        for _ in range(10):
            clock.now_s += STALL_S + 0.1
            until(live, lambda: True)
            clock.now_s += RETRY_S
            until(live, lambda: True)
        assert reopenable.open_count == MAX_HANGING
        hold.set()
        for _ in range(int(LONG_S / MOMENT_S)):
            if (frame := live.latest(MOMENT_S)) is not None:
                break
        assert frame is not None
        assert int(frame.image.mean()) == 33
    assert [reader.close_count for reader in opened] == [1] * MAX_HANGING  # opened late, closed at once


def test_a_stream_that_ends_is_opened_again() -> None:
    clock = FakeClock()
    reopenable = FakeReopenable(FakeReader(levels(1)))
    with LiveCamera(FakeReader(levels(1)), reopenable, clock) as live:
        newest(live)
        until(live, lambda: live.trouble)
        assert not live.has_ended
        clock.now_s += RETRY_S
        frame = next(frame for frame in live.frames(threading.Event()) if frame is not None)
        assert frame.index == 1


def test_it_can_be_closed_while_the_camera_is_lost() -> None:
    clock, reopenable = FakeClock(), FakeReopenable()
    with LiveCamera(Broken(levels(1)), reopenable, clock) as live:
        newest(live)
        until(live, lambda: live.trouble)
        stop = threading.Event()
        assert next(live.frames(stop)) is None  # the outputs are kept alive meanwhile
