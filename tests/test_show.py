"""A turn of the loop, and what its time goes to."""

from typing import Any

import numpy as np
import pytest

from avatarify_plus import show as stage
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Source
from avatarify_plus.images import View
from avatarify_plus.puppeteer import Puppeteer
from avatarify_plus.show import open_show
from avatarify_plus.sinks import Outputs
from avatarify_plus.timed_engine import TimedEngine
from avatarify_plus.timing import Stage, Timing
from avatarify_plus.types import Frame, Image, Keypoints
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


@pytest.mark.parametrize("is_live", [False, True])
def test_every_stage_gets_what_it_took(is_live: bool) -> None:
    clock = FakeClock()
    timing, sink, outputs = Timing(clock), SlowSink(clock), Outputs()
    outputs.add(sink)
    framing: Any = SlowFraming(clock)
    puppeteer = Puppeteer(TimedEngine(SlowEngine(clock), timing))
    puppeteer.set_source(View(plain_picture(90, 64, 64), None, has_face=True))
    show = stage.Show(framing, puppeteer, outputs, timing, mirrors=False, is_live=is_live)
    timing.start()
    for index in range(2):
        captured_s = clock.now_s
        clock.pass_ms(TIMES_MS["capture"])
        show.turn(Frame(plain_picture(90, 64, 64), index, captured_s))
    assert len(sink.sent) == 2
    assert show.faceless_count == 1
    for name, time_ms in TIMES_MS.items():
        took = [timing.stages_ms(percent, Stage[name.upper()]) for percent in (0, 100)]
        idles = name in ("detect", "animate")  # where nobody is seen
        assert took == pytest.approx([0 if idles else time_ms, time_ms])
    assert timing.stages_ms(100, Stage.COMPOSE) == 0
    whole_ms = sum(TIMES_MS.values())
    assert timing.stages_ms(100, *Stage) == pytest.approx(whole_ms)
    assert timing.latency_ms(100) == pytest.approx(whole_ms if is_live else whole_ms - TIMES_MS["capture"])


def test_the_timed_engine_is_the_engine() -> None:
    engine = FakeEngine("learned")
    with TimedEngine(engine, Timing()) as timed:
        assert (timed.name, timed.device, timed.precision) == (engine.name, engine.device, engine.precision)
        image = plain_picture(80, 64, 64)
        keypoints = timed.detect(image)
        picture = timed.animate(timed.encode_source(image, keypoints), keypoints)
        np.testing.assert_array_equal(picture, image // 2 + 1)
    assert not engine.is_closed  # it is its opener's


def test_the_avatar_is_set_before_the_show_begins() -> None:
    engine = FakeEngine("learned")
    config = AppConfig(avatar=EXAMPLES / "avatar_2.jpg", framing="none")
    with open_show(config, engine, plain_picture(100), Outputs(), is_live=False) as show:
        assert len(engine.sources) == len(engine.animated) == 1
        assert show.timing.frame_count == 0
