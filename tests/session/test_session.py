"""A turn of the loop, and what its time goes to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Source
from avatarify_plus.pictures.badge import still_card
from avatarify_plus.pictures.composition import Composition
from avatarify_plus.pictures.images import View, whole
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.session import session as stage
from avatarify_plus.session.avatars import Avatar, Avatars
from avatarify_plus.session.session import open_session
from avatarify_plus.session.timed_engine import TimedEngine
from avatarify_plus.session.timing import Timing, TurnStage
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Frame, Image, Keypoints, Size
from fakes import EXAMPLES, FakeClock, FakeEngine, FakeSink, plain_picture

TIMES_MS = {"framing": 4.0, "detect": 2.0, "animate": 20.0, "send": 1.0, "capture": 3.0}


class SlowEngine(FakeEngine):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__("learned")
        self._clock = clock

    def detect(self, image: Image) -> Keypoints:
        self._clock.pass_ms(TIMES_MS["detect"])
        return super().detect(image)

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        self._clock.pass_ms(TIMES_MS["animate"])
        return super().animate(source, keypoints)


class SlowSink(FakeSink):
    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def send(self, image: Image, time_s: float) -> None:
        self._clock.pass_ms(TIMES_MS["send"])
        super().send(image, time_s)


class SlowFraming:
    """Every second frame shows nobody."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    def view(self, frame: Frame) -> View:
        self._clock.pass_ms(TIMES_MS["framing"])
        return View(frame.image, None, has_face=frame.index % 2 == 0)

    def adjust(self, zoom: float, shift_x: float, shift_y: float) -> None:
        """Do nothing."""


def staged(
    engine: FakeEngine, sink: FakeSink, clock: FakeClock, is_live: bool, **options: Any
) -> tuple[stage.Session, Timing]:
    """Return a session with plain grey squares for photos, and its timing."""
    timing, outputs = Timing(clock), Outputs()
    outputs.add(sink)
    framing: Any = SlowFraming(clock)
    puppeteer = Puppeteer(TimedEngine(engine, timing), smoothing=0.5)
    config = AppConfig(avatar=(Path("a.png"), Path("b.png")), **options)

    def prepare(path: Path) -> Avatar:
        photo = plain_picture(90 if path.stem == "a" else 160, 64, 64)
        composition = Composition(photo, whole(photo), config.frame, config.size, config.fit, 64)
        return Avatar(puppeteer.encode(View(photo, None, has_face=True)), composition)

    avatars = Avatars(config.avatar, prepare)
    while avatars.work():  # what a call does in its first turns
        pass
    return stage.Session(config, framing, puppeteer, avatars, outputs, timing, is_live), timing


@pytest.mark.parametrize("is_live", [False, True])
def test_every_stage_gets_what_it_took(is_live: bool) -> None:
    clock = FakeClock()
    sink = SlowSink(clock)
    session, timing = staged(SlowEngine(clock), sink, clock, is_live)
    timing.start()
    for index in range(2):
        captured_s = clock.now_s
        clock.pass_ms(TIMES_MS["capture"])
        session.turn(Frame(plain_picture(90, 64, 64), index, captured_s))
    assert len(sink.sent) == 2
    assert session.faceless_count == 1
    for name, time_ms in TIMES_MS.items():
        took = [timing.stages_ms(percent, TurnStage[name.upper()]) for percent in (0, 100)]
        idles = name in ("detect", "animate")  # where nobody is seen
        assert took == pytest.approx([0 if idles else time_ms, time_ms])
    assert timing.stages_ms(100, TurnStage.COMPOSE) == 0
    whole_ms = sum(TIMES_MS.values())
    assert timing.stages_ms(100, *TurnStage) == pytest.approx(whole_ms)
    assert timing.latency_ms(100) == pytest.approx(whole_ms if is_live else whole_ms - TIMES_MS["capture"])


def test_encoding_a_reloaded_photo_is_not_booked_to_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    engine, sink = SlowEngine(clock), SlowSink(clock)
    session, timing = staged(engine, sink, clock, is_live=True)
    timing.start()

    def turn(index: int) -> float:
        captured_s = clock.now_s
        clock.pass_ms(TIMES_MS["capture"])
        session.turn(Frame(plain_picture(90, 64, 64), index, captured_s))
        return timing.newest_ms(*TurnStage)

    usual_ms = turn(0)
    monkeypatch.setattr("avatarify_plus.session.avatars._stamp", lambda path: (1, 1))  # the photos have changed
    session.avatars.reload()
    encoded_count = len(engine.sources)
    assert [turn(index) for index in (2, 4, 6)] == pytest.approx([usual_ms] * 3)
    assert len(engine.sources) == encoded_count + 2, "one after each of the first two turns"


def test_encoding_a_photo_that_is_chosen_is_not_booked_to_the_next_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Avatars, "work", lambda avatars: False)
    clock = FakeClock()
    engine, sink = SlowEngine(clock), SlowSink(clock)
    session, timing = staged(engine, sink, clock, is_live=True)
    timing.start()
    assert len(engine.sources) == 1
    session.choose(2)
    assert (len(engine.sources), session.avatars.name) == (2, "b")
    captured_s = clock.now_s
    clock.pass_ms(TIMES_MS["capture"])
    session.turn(Frame(plain_picture(90, 64, 64), 0, captured_s))
    assert timing.newest_ms(*TurnStage) == pytest.approx(sum(TIMES_MS.values()))


def turned(session: stage.Session, sink: FakeSink, level: int = 90) -> Image:
    """Take one more frame of a plain picture and return what was sent."""
    index = 2 * len(sink.sent)
    session.turn(Frame(plain_picture(level, 64, 64), index, index / 25))
    return sink.sent[-1][0]


def test_the_picture_that_is_sent_changes_at_once() -> None:
    """Badge, panic, passthrough and mirror; each with the very next picture."""
    sink, clock = FakeSink(), FakeClock()
    session, _ = staged(FakeEngine("learned"), sink, clock, is_live=True, size=Size(128, 72))
    marked = turned(session, sink)
    assert marked.shape == (72, 128, 3)
    assert session.badge_box is not None
    session.change(badge=False)
    plain = turned(session, sink)
    difference = np.argwhere(np.abs(marked.astype(int) - plain).max(-1) > 20)
    box = session.config.badge, session.badge_box
    assert box == (False, None)
    assert len(difference) > 20
    assert difference[:, 0].min() > 36  # only the badge, in the lower right corner
    assert difference[:, 1].min() > 40
    session.is_panicking = session.passes_through = True
    np.testing.assert_array_equal(turned(session, sink), still_card(Size(128, 72)))
    session.is_panicking = False
    seen = turned(session, sink, level=200)
    assert np.all(seen[:, 40:88] == 200)  # the camera's own picture, with bars
    session.passes_through = False
    assert abs(int(turned(session, sink)[36, 64, 0]) - int(plain[36, 64, 0])) < 10


def test_the_output_is_mirrored_but_its_mark_stays_readable() -> None:
    sink, clock = FakeSink(), FakeClock()
    session, _ = staged(FakeEngine("learned"), sink, clock, is_live=True, size=Size(128, 72))
    box = session.badge_box
    assert box is not None
    rows, columns = slice(int(box.top), int(box.top + box.height)), slice(int(box.left), int(box.left + box.width))
    before = turned(session, sink)[rows, columns].astype(int)
    session.change(mirror_output=True)
    after = turned(session, sink)[rows, columns].astype(int)
    assert np.abs(before - after).mean() < 10
    assert np.abs(before - after[:, ::-1]).mean() > 20


def test_a_badge_does_not_thicken_with_time() -> None:
    sink, clock = FakeSink(), FakeClock()
    session, _ = staged(FakeEngine("learned"), sink, clock, is_live=True, size=Size(128, 72))
    first = turned(session, sink)
    for _ in range(20):
        last = turned(session, sink)
    box = session.badge_box
    assert box is not None
    corner = np.s_[int(box.top) : int(box.top) + 3, int(box.left) : int(box.left + box.width)]
    assert np.abs(first[corner].astype(int) - last[corner]).max() < 30  # the fake engine brightens its pictures


def test_another_avatar_is_there_with_the_next_picture() -> None:
    sink, clock, engine = FakeSink(), FakeClock(), FakeEngine("learned")
    session, _ = staged(engine, sink, clock, is_live=True)
    turned(session, sink)
    first = engine.played[-1]
    session.choose(2)
    turned(session, sink)
    assert engine.played[-1] is not first
    assert len(engine.sources) == 2  # nothing was encoded again
    assert session.avatars.name == "b"
    session.step(1)
    assert session.avatars.name == "a"


def test_idling_sends_the_last_picture_and_panics_at_once() -> None:
    sink, clock = FakeSink(), FakeClock()
    session, _ = staged(FakeEngine("learned"), sink, clock, is_live=True, size=Size(128, 72))
    session.idle(0.0)  # before the first frame: the avatar at rest
    assert sink.sent[-1][0].std() > 1
    last = turned(session, sink)
    session.idle(1.0)
    np.testing.assert_array_equal(sink.sent[-1][0], last)
    session.is_panicking = True
    session.idle(2.0)
    np.testing.assert_array_equal(sink.sent[-1][0], still_card(Size(128, 72)))


def test_the_timed_engine_is_the_engine() -> None:
    engine = FakeEngine("learned")
    with TimedEngine(engine, Timing()) as timed:
        assert (timed.name, timed.device, timed.precision) == (engine.name, engine.device, engine.precision)
        image = plain_picture(80, 64, 64)
        keypoints = timed.detect(image)
        picture = timed.animate(timed.encode_source(image, keypoints), keypoints)
        np.testing.assert_array_equal(picture, image // 2 + 1)
    assert not engine.is_closed  # it is its opener's


def test_the_avatar_is_set_before_the_session_begins() -> None:
    engine = FakeEngine("learned")
    config = AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), framing="none")
    with open_session(config, engine, Outputs(), is_live=False) as session:
        assert len(engine.sources) == len(engine.animated) == 1
        assert session.timing.frame_count == 0
        assert session.size == (64, 64)
    with open_session(config, engine, Outputs(), is_live=True) as session:
        assert session.size == (1280, 720)
        assert session.puppeteer.searches
