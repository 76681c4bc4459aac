"""The soak: that it watches the app itself, that everything is switched, and that whatever is wrong is found."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avatarify_plus import live
from avatarify_plus.bench import soak, switcher, switching
from avatarify_plus.bench.footprint import Footprint, footprint_of
from avatarify_plus.bench.soak import Minute, Second, Soak
from avatarify_plus.bench.stand_in import StandInCamera, StandInSink
from avatarify_plus.bench.switcher import Run, Switcher
from avatarify_plus.bench.switching import SETTINGS, Setting, Switching
from avatarify_plus.camera import LiveCamera
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import EngineError, SinkError
from avatarify_plus.sinks import Outputs
from avatarify_plus.types import Size
from fakes import EXAMPLES, FakeEngine, example_driver, plain_picture, read_video, write_video

FACE_COUNT = 6
AT_REST = Footprint(300.0, 250.0, 20, 30)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example driver's beginning."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", example_driver(FACE_COUNT))


def minute(memory_mb: float = 300.0, late_ms: float = 40.0, count: int = 8, **held: float) -> Minute:
    footprint = AT_REST._replace(memory_mb=memory_mb, **held)
    return Minute([Second(25.0, 30.0, late_ms, "openvino int8", footprint)] * count)


def switched(*rests: Footprint) -> Soak:
    return Soak([minute(), minute(), minute(), minute()], [], 0, {"avatar": [30.0, 90.0]}, [AT_REST, AT_REST, *rests])


# --- what is judged ---


def test_a_steady_run_is_well() -> None:
    assert Soak([minute(100), minute(300), minute(301), minute(305)], [], 0).verdict() == []
    assert switched(AT_REST, AT_REST).verdict() == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Soak([minute(100), minute(300), minute(301), minute(326)], [], 0), "memory grew by 25.0 MB after warm-up"),
        (switched(AT_REST, AT_REST, AT_REST._replace(memory_mb=321.0)), "memory grew by 21.0 MB after warm-up"),
        (Soak([minute(), minute(), minute(), minute(descriptors=21)], [], 0), "descriptors grew .* from 20 to 21"),
        (Soak([minute(), minute(), minute(), minute(threads=31)], [], 0), "threads grew .* from 30 to 31"),
        (switched(AT_REST, AT_REST._replace(descriptors=22)), "descriptors grew after warm-up, from 20 to 22"),
        (switched(AT_REST, AT_REST._replace(threads=33)), "threads grew after warm-up, from 30 to 33"),
        (Soak([minute(), minute(), minute(), minute(late_ms=49)], [], 0), "p95 grew 1.23 times"),
        (Soak([minute(), minute(), minute()], ["avatarify: warning: no camera"], 0), "complaint: .*no camera"),
        (Soak([minute(), minute(), minute()], [], 1), "the app ended with exit code 1"),
        (Soak([minute(), minute()], [], 0), "memory was not measured after warm-up: run for more than 2 minutes"),
        (switched(AT_REST), "memory was not measured after warm-up: run for more than 3 rounds"),
    ],
)
def test_each_fault_is_found(found: Soak, message: str) -> None:
    (wrong,) = found.verdict()
    assert re.match(message, wrong)
    assert wrong in str(found) and found.values()["wrong"] == [wrong]


def test_what_computes_is_compared_with_itself() -> None:
    fast, slow = (Second(25.0, 30.0, late_ms, name, AT_REST) for name, late_ms in (("fast", 20.0), ("slow", 80.0)))
    first, last = Minute([fast] * 6 + [slow] * 2), Minute([slow] * 6 + [fast] * 2)
    assert Soak([minute(), minute(), first, minute(), minute(), last], [], 0).late_ratio == 1.0


def test_what_comes_and_goes_within_a_minute_has_not_grown() -> None:
    busy = Minute([*minute(threads=30).seconds, *minute(threads=36).seconds])
    assert Soak([minute(), minute(), busy, busy], [], 0).verdict() == []


def test_a_soak_can_be_read_by_people_and_programs() -> None:
    found = switched(AT_REST, AT_REST)
    found.provoked_count = 3
    values = json.loads(json.dumps(found.values()))
    assert values["switches_ms"] == {"avatar": {"count": 2, "p50": 60.0, "p95": 87.0, "max": 90.0}}
    assert (values["growth_mb"], values["late_ratio"], values["provoked"]) == (0.0, 1.0, 3)
    assert values["minutes"][0]["descriptors"] == 20 and values["rests"][3]["threads"] == 30
    assert json.loads(json.dumps(Soak([Minute()], [], 0).values()))["growth_mb"] is None
    assert "avatar                      2 times, pictures after 60 ms (95 % within 87, longest 90)" in str(found)
    assert str(found).endswith("3 complaints were provoked\nnothing is wrong")


# --- what is watched ---


def test_a_process_knows_what_it_holds(tmp_path: Path) -> None:
    before = footprint_of(os.getpid())
    with (tmp_path / "file").open("w"):
        thread = threading.Timer(60, print)
        thread.start()
        after = footprint_of(os.getpid())
        thread.cancel()
        thread.join()
    assert after.descriptors == before.descriptors + 1 and after.threads == before.threads + 1
    assert 10 < after.unique_mb <= after.memory_mb
    assert all(math.isnan(value) for value in footprint_of(2**22 + 1))


def test_a_soak_watches_the_app_itself(clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "soak.mp4"
    options = ["--avatar", str(EXAMPLES / "avatar_2.jpg"), "--camera", str(clip), "--live", "--output", str(video)]
    quiet = ["--no-preview", "--no-virtual-camera", "--no-config"]
    with (tmp_path / "progress.txt").open("w") as progress:
        result = soak.soak([*options, *quiet], 0.05, progress)
    printed = (tmp_path / "progress.txt").read_text()
    assert printed.startswith("minute    fps") and f"wrote {video}" in printed
    assert result.exit_code == 0
    assert not result.complaints
    (found,) = result.minutes
    assert min(second.fps for second in found.seconds) > 0
    assert all(second.footprint.memory_mb > 50 for second in found.seconds)
    assert all(second.footprint.threads > 3 < second.footprint.descriptors for second in found.seconds)
    assert found.seconds[0].computing == "openvino int8"
    assert read_video(video)[0]


SCRIPT = """
import sys, time
for line in sys.argv[1:]:
    print(line, file=sys.stderr, flush=True)
time.sleep(0.3)
"""


def test_what_a_process_says_is_told_apart(tmp_path: Path) -> None:
    lines = [
        "20.0 fps, latency 30 ms (95 % within 41), 3 frames dropped, openvino int8, live-512",
        "switched recording begun in 45 ms",
        "avatarify: warning: stand-in camera was unplugged; looking for it every second",
        "avatarify: error: no picture within 3 s of a change of avatar",
        "round 1 is done",
        "Traceback (most recent call last):",
    ]
    result = Soak([Minute()], [], 0, rests=[])
    with (tmp_path / "progress.txt").open("w") as progress:
        soak._run([sys.executable, "-c", SCRIPT, *lines], result, progress)
    assert result.complaints == [lines[3], lines[5]] and result.provoked_count == 1
    assert result.switches_ms == {"recording begun": [45.0]}
    assert len(result.rests or []) == 1 and result.rests[0].threads >= 1  # type: ignore[index]
    assert result.minutes[0].seconds[0].computing == "openvino int8, live-512"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send itself these signals")
def test_a_soak_that_is_ended_ends_the_app(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"

    def interrupt() -> None:
        while not mark.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores Ctrl-C
    threading.Thread(target=interrupt, daemon=True).start()
    began_s = time.monotonic()
    try:
        with (tmp_path / "progress.txt").open("w") as progress, pytest.raises(KeyboardInterrupt):
            soak._run([sys.executable, "-c", code], Soak([Minute()], [], 0), progress)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("arguments", [["--minutes", "1"], ["--switch", "--", "--avatar", "a.jpg"]])
def test_a_soak_needs_to_know_what_to_run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main(arguments)
    assert "give either --switch or the app's options" in capsys.readouterr().err


# --- what is switched ---


class Session:
    """A session whose frames are counted by hand."""

    def __init__(self) -> None:
        self.timing = SimpleNamespace(frame_count=0)
        self.size = Size(64, 64)
        self.asked: list[str] = []
        self.config = AppConfig(avatar=(Path("a.jpg"),))
        self.is_panicking = self.passes_through = False

    def choose(self, number: int) -> None:
        self.asked.append("avatar")

    def step(self, places: int) -> None:
        self.asked.append("avatar")

    def reload_avatars(self) -> None:
        self.asked.append("avatar")

    def recalibrate(self) -> None: ...

    def change(self, **fields: Any) -> None:
        self.config = replace(self.config, **fields)


@pytest.fixture
def run() -> Iterator[Run]:
    with Outputs() as outputs:
        outputs.is_needed = False
        source: Any = SimpleNamespace(rate=Fraction(25))
        status_line: Any = SimpleNamespace(line="20.0 fps")
        session: Any = Session()
        yield Run(session, source, outputs, status_line, threading.Event(), threading.Event())


def play(run: Run, one: Switcher, seconds: float = 30.0) -> None:
    """Give it frames until it ends the run."""
    image = plain_picture(90, 64, 64)
    end_s = time.monotonic() + seconds
    while not run.ended.is_set():
        assert time.monotonic() < end_s
        run.session.timing.frame_count += 1  # type: ignore[misc]
        run.outputs.send(image, time.monotonic())
        one.refresh()
        time.sleep(0.002)


def test_everything_is_changed_in_a_run(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    play(run, Switcher(run, random.Random(1), tmp_path, "live-512", StandInCamera([], Fraction(25)), time.monotonic()))
    kinds = [found[1] for record in caplog.records if (found := soak.SWITCHED.match(record.message))]
    assert kinds[0] == "engine and camera" and len(kinds) == 1 + len(switcher.KINDS)
    assert kinds.count("avatar") == 3 and kinds.count("key") == 3
    assert {"recording begun", "recording ended", "virtual camera"} < set(kinds)
    assert kinds.count("webcam unplugged") + kinds.count("webcam hanging") == 1
    assert "20.0 fps, live-512" in caplog.messages
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]
    assert not list(tmp_path.iterdir())


def test_a_seed_repeats_a_run(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "avatarify_plus.bench.switcher")
    orders = []
    for seed in (3, 3, 4):
        caplog.clear()
        run.ended.clear()
        play(run, Switcher(run, random.Random(seed), tmp_path, "live-512", None, time.monotonic()))
        orders.append([found[1] for message in caplog.messages if (found := soak.SWITCHED.match(message))])
    assert orders[0] == orders[1] != orders[2]


def test_pictures_that_stay_away_are_an_error(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switcher, "START_LIMIT_S", 0.05)
    one = Switcher(run, random.Random(1), tmp_path, "live-512", None, time.monotonic())
    one.refresh()
    assert not caplog.messages
    time.sleep(0.06)
    one.refresh()
    assert caplog.messages == ["no picture within 0 s of a change of engine and camera"]


def test_a_film_that_does_not_play_is_an_error(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = Switcher(run, random.Random(1), tmp_path, "live-512", None, time.monotonic())
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film")
    one._look_at(film)
    assert [record.levelname for record in caplog.records] == ["ERROR"] and not film.exists()


def test_a_run_ends_when_everything_is_to_end(run: Run, tmp_path: Path) -> None:
    run.stop.set()
    Switcher(run, random.Random(1), tmp_path, "live-512", None, time.monotonic()).refresh()
    assert run.ended.is_set()


def test_a_stand_in_comes_back_after_all_it_does(caplog: pytest.LogCaptureFixture) -> None:
    camera = StandInCamera([plain_picture(level) for level in range(5)], Fraction(100))
    with LiveCamera(camera.open(), camera) as source:
        frames = source.frames(threading.Event())

        def wait_for(frame_is_there: bool) -> None:
            end_s = time.monotonic() + 10
            while (next(frames) is not None) is not frame_is_there:
                assert time.monotonic() < end_s

        wait_for(True)
        for disturb in (camera.unplug, camera.hang):
            disturb(1.2)
            wait_for(False)
            wait_for(True)
    assert [message for message in caplog.messages if "stand-in" not in message] == []
    assert "stand-in camera was unplugged; looking for it every second" in caplog.messages


def test_a_stand_in_of_a_virtual_camera_can_be_unplugged() -> None:
    sink = StandInSink()
    sink.send(plain_picture(0), 0.0)
    sink.unplug()
    with pytest.raises(SinkError, match="stand-in"):
        sink.send(plain_picture(0), 0.0)


# --- round after round ---


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[AppConfig]:
    """Return what engines were opened for, which compute nothing."""
    configs: list[AppConfig] = []
    open_model = switching.ModelInUse

    def open_fake(config: AppConfig) -> FakeEngine:
        configs.append(config)
        return FakeEngine()

    monkeypatch.setattr(switching, "ModelInUse", lambda config: open_model(config, open_fake))
    monkeypatch.setattr(switching, "REST_S", 0.0)
    return configs


def test_rounds_go_through_all_engines_and_cameras_and_rest_with_the_first(
    opened: list[AppConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop, cameras = threading.Event(), []

    def run_once(config: AppConfig, engine: Any, source: Any, ended: Any, watch: Any) -> None:
        cameras.append(source.name)
        if len(cameras) == 2 * len(SETTINGS):
            stop.set()
        if len(cameras) == 3:
            raise EngineError("it broke")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(live, "run", run_once)
    Switching(tmp_path, seed=1).run(stop)
    found = [(config.engine, config.precision, config.model) for config in opened]
    round_ = slice(1, 1 + len(SETTINGS))
    assert found[0] == SETTINGS[0] == found[len(SETTINGS) + 1]
    assert sorted(found[round_]) == sorted(SETTINGS) and found[round_] != found[len(SETTINGS) + 2 :]
    assert len(set(cameras)) == len(set(switching.CAMERAS))
    assert "round 1 is done" in caplog.messages and "it broke" in caplog.messages


def test_the_real_thing_switches_for_a_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stop = threading.Event()
    monkeypatch.setattr(switching, "CAMERAS", ("webcam",))
    monkeypatch.setattr(switcher, "KINDS", ("avatar", "recording"))
    close = Switcher.close
    monkeypatch.setattr(Switcher, "close", lambda one: (close(one), stop.set()))
    Switching(tmp_path, seed=1, settings=[Setting("openvino", "int8", "live-256")]).run(stop)
    kinds = {message.partition(" in ")[0] for message in caplog.messages}
    assert {"switched engine and camera", "switched avatar", "switched recording begun"} <= kinds
    assert not [m for r in caplog.records if r.levelno >= logging.WARNING and "stand-in" not in (m := r.message)]
    assert [path.name for path in tmp_path.iterdir()] == [switching.PICTURES]
