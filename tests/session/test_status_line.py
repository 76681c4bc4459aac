"""The line that says how a session is doing."""

import logging

import pytest

from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.session.timing import Timing
from fakes import FakeClock


def frames(timing: Timing, clock: FakeClock, count: int, latency_ms: float) -> None:
    for _ in range(count):
        clock.pass_ms(1000 / 25)
        timing.tick(clock.now_s - latency_ms / 1000, clock.now_s)


@pytest.mark.parametrize("logs", [False, True])
def test_a_line_a_second(logs: bool, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    timing = Timing(clock)
    status_line = StatusLine(timing, lambda: 0, "fake fp32", logs, clock)
    with caplog.at_level(logging.INFO, "avatarify_plus.session.status_line"):
        frames(timing, clock, 20, 30)
        status_line.update()
        assert status_line.line == ""  # not yet
        frames(timing, clock, 30, 30)
        status_line.update()
        assert status_line.line == "25.0 fps, latency 30 ms (95 % within 30), 0 frames dropped, fake fp32"
        clock.pass_ms(2000)
        status_line.update()
        assert status_line.line.startswith("0.0 fps")  # nothing new came
    assert len(caplog.records) == (2 if logs else 0)


def test_latency_is_that_of_the_newest_frames() -> None:
    clock = FakeClock()
    timing = Timing(clock)
    status_line = StatusLine(timing, lambda: 0, "fake fp32", False, clock)
    frames(timing, clock, 100, 500)
    frames(timing, clock, 150, 20)
    status_line.update()
    assert "latency 20 ms (95 % within 20)" in status_line.line
