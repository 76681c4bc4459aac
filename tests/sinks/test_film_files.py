"""Films and folders that are written: their formats, times and sound, and that nobody's files are destroyed."""

import logging
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from avatarify_plus.camera import FileSource, open_clip
from avatarify_plus.config import FILM_SUFFIXES
from avatarify_plus.errors import SinkError
from avatarify_plus.sinks.destination import require_folder, reserve_film
from avatarify_plus.sinks.film_format import FORMATS, Speed
from avatarify_plus.sinks.picture_folder import PictureFolder
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.types import Image, Size
from fakes import FakeTimeline, plain_picture
from films import SILENCE_S, ends_of, times_of, tone_begins_s, write_film

SIZE = Size(64, 64)
UNEVEN_S = [0.0, 0.04, 0.2, 0.24, 0.9]


class UnevenTimeline(FakeTimeline):
    """A file whose pictures come at UNEVEN_S, the last of which is shown for long."""

    def __init__(self) -> None:
        super().__init__(Fraction(25))
        self.time_base = Fraction(1, 12_800)
        self.end_s = 2.0


def levels(count: int) -> list[Image]:
    return [plain_picture(10 + 20 * index, 64, 64) for index in range(count)]


def record(path: Path, times_s: list[float], timeline: FakeTimeline | None) -> Path:
    recorder = Recorder(path, SIZE, Fraction(25), timeline)
    for picture, time_s in zip(levels(len(times_s)), times_s, strict=True):
        recorder.send(picture, time_s)
    recorder.close()
    return path


def rewrite(driver: Path, path: Path, count: int | None = None) -> Path:
    """Write a driver's pictures, as many as wanted, and its sound as another film."""
    with FileSource(open_clip(str(driver), 25)) as source:
        recorder = Recorder(path, SIZE, source.rate, source, has_sound=True)
        for frame in source.frames(_Stop()):
            recorder.send(frame.image, frame.captured_at)
            if frame.index + 1 == count:
                break
        recorder.close()
    return path


class _Stop:
    """An event that never comes."""

    def is_set(self) -> bool:
        return False


# --- formats ---


def test_the_formats_are_those_that_the_options_allow() -> None:
    assert tuple(FORMATS) == FILM_SUFFIXES


@pytest.mark.parametrize("suffix", FILM_SUFFIXES)
def test_pictures_keep_their_times_and_the_last_its_length(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"out{suffix}", UNEVEN_S, UnevenTimeline())
    np.testing.assert_allclose(times_of(path), UNEVEN_S, atol=0.006 if suffix == ".gif" else 0.001)
    assert ends_of(path)["video"] == pytest.approx(2.0, abs=0.01)
    with av.open(str(path)) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    for picture, original in zip(pictures, levels(5), strict=True):
        assert np.abs(picture.astype(int) - original).mean() < 8


@pytest.mark.parametrize("suffix", FILM_SUFFIXES)
def test_a_live_recording_may_have_any_format(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"out{suffix}", [7.0, 7.04, 7.2], None)
    np.testing.assert_allclose(times_of(path), [0, 0.04, 0.2], atol=0.006)


def test_a_gif_leaves_out_pictures_that_browsers_would_slow_down(tmp_path: Path) -> None:
    path = record(tmp_path / "out.gif", [index / 100 for index in range(9)], UnevenTimeline())
    assert np.diff(times_of(path)).min() > 0.0199


def test_a_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    assert len(times_of(record(tmp_path / "OUT.MOV", UNEVEN_S, UnevenTimeline()))) == 5


@pytest.mark.parametrize("speed", get_args(Speed))
def test_a_missing_encoder_is_reported_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: Speed
) -> None:
    monkeypatch.setattr("av.codec.codecs_available", {"libvpx", "libvpx-vp9"})
    with pytest.raises(SinkError, match=r"has no encoder libx264; write \.webm, or install av from PyPI"):
        reserve_film(tmp_path / "out.mp4", speed)
    reserve_film(tmp_path / "out.webm", speed).close()
    assert list(tmp_path.iterdir()) == []


# --- sound ---


@pytest.mark.parametrize("begins_s", [0.0, 0.3])
@pytest.mark.parametrize(
    ("driver", "codec", "sound", "suffix", "kept"),
    [
        ("d.mp4", "libx264", "aac", ".mp4", "aac"),
        ("d.mp4", "libx264", "aac", ".mov", "aac"),
        ("d.mp4", "libx264", "aac", ".mkv", "aac"),
        ("d.mp4", "libx264", "aac", ".webm", "opus"),
        ("d.webm", "libvpx", "libopus", ".webm", "opus"),
        ("d.webm", "libvpx", "libopus", ".mp4", "opus"),
        ("d.mov", "libx264", "pcm_s16le", ".mp4", "aac"),
        ("d.mkv", "libx264", "flac", ".mkv", "flac"),
        ("d.ts", "libx264", "aac", ".mp4", "aac"),
    ],
)
def test_a_film_has_the_drivers_sound_in_time(
    tmp_path: Path, begins_s: float, driver: str, codec: str, sound: str, suffix: str, kept: str
) -> None:
    source = write_film(
        tmp_path / driver, levels(10) * 3, codec=codec, sound=sound, sound_s=1.5, begins_s=begins_s,
        tick=Fraction(1, 1000),
    )  # fmt: skip
    path = rewrite(source, tmp_path / f"out{suffix}")
    with av.open(str(path)) as film:
        assert film.streams.audio[0].codec_context.codec.canonical_name == kept
    assert tone_begins_s(path) == pytest.approx(SILENCE_S - begins_s, abs=0.02)
    assert times_of(path)[0] == pytest.approx(0, abs=0.001)
    ends = ends_of(path)
    assert ends["video"] == pytest.approx(1.2, abs=0.02)
    assert ends["audio"] == pytest.approx(1.2, abs=0.05)


def test_sound_ends_with_the_pictures(tmp_path: Path) -> None:
    source = write_film(tmp_path / "d.mp4", levels(10) * 3, sound="aac", sound_s=3.0)
    ends = ends_of(rewrite(source, tmp_path / "out.mp4", count=15))
    assert ends["video"] == pytest.approx(0.6)
    assert ends["audio"] == pytest.approx(0.6, abs=0.03)


def test_a_gif_has_no_sound_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_film(tmp_path / "d.mp4", levels(5), sound="aac")
    assert list(ends_of(rewrite(source, tmp_path / "out.gif"))) == ["video"]
    assert "out.gif has no sound, because a GIF can hold none" in caplog.text


def test_sound_ends_with_a_warning_where_the_drivers_time_goes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The pictures go on; two films, one behind the other in one file."""
    piece = write_film(tmp_path / "a.ts", levels(10) * 2, sound="aac", sound_s=0.8, tick=Fraction(1, 90_000))
    (tmp_path / "both.ts").write_bytes(2 * piece.read_bytes())
    ends = ends_of(rewrite(tmp_path / "both.ts", tmp_path / "out.mp4"))
    assert ends["video"] == pytest.approx(1.6, abs=0.02)
    assert ends["audio"] == pytest.approx(0.8, abs=0.05)
    assert "out.mp4 ends at 0.8 s: the driver's time goes back there" in caplog.text


def test_a_driver_without_sound_costs_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert list(ends_of(rewrite(write_film(tmp_path / "d.mp4", levels(5)), tmp_path / "out.mp4"))) == ["video"]
    assert not caplog.records


# --- somebody else's files ---


def test_only_the_owner_may_read_a_recording(tmp_path: Path) -> None:
    old = tmp_path / "old.mp4"
    old.write_bytes(b"anything")
    old.chmod(0o644)
    for path in (tmp_path / "new.mp4", old):
        record(path, UNEVEN_S, UnevenTimeline())
        if sys.platform != "win32":
            assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_refused_before_anybody_waits_for_its_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "out.mp4"
    os.mkfifo(pipe)
    with pytest.raises(SinkError, match=r"out\.mp4 is a pipe, whose reader would hold up the recording"):
        reserve_film(pipe, "small")


def test_an_existing_file_stays_until_there_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"last week's")
    reserve_film(path, "small").close()
    Recorder(path, SIZE, Fraction(25), UnevenTimeline()).close()
    assert path.read_bytes() == b"last week's"
    record(path, UNEVEN_S, UnevenTimeline())
    assert len(times_of(path)) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let others replace an open file")
@pytest.mark.parametrize("when", ["between pictures", "before the end"])
def test_a_file_that_took_the_recordings_place_is_noticed_and_stays(tmp_path: Path, when: str) -> None:
    path, other = tmp_path / "out.mp4", tmp_path / "other.mp4"
    other.write_bytes(b"somebody else's")
    recorder = Recorder(path, SIZE, Fraction(25), UnevenTimeline())
    recorder.send(plain_picture(9, 64, 64), 0.0)
    other.replace(path)
    with pytest.raises(SinkError, match="another file has taken its place, which stays as it is"):
        recorder.send(plain_picture(9, 64, 64), 0.04) if when == "between pictures" else recorder.close()
    recorder.close()
    assert path.read_bytes() == b"somebody else's"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let others write an open file")
def test_a_program_that_writes_to_the_recording_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    recorder = Recorder(path, SIZE, Fraction(25), UnevenTimeline())
    for index in range(60):
        recorder.send(plain_picture(index, 64, 64), index / 25)
    path.write_bytes(b"somebody else's")
    with pytest.raises(SinkError, match="another program has written to it"):
        recorder.send(plain_picture(9, 64, 64), 3.0)
    recorder.close()
    assert path.read_bytes() == b"somebody else's"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let others write an open file")
@pytest.mark.parametrize("replaces", [True, False])
def test_a_file_that_was_put_there_before_the_first_picture_is_noticed_and_stays(
    tmp_path: Path, replaces: bool
) -> None:
    path, other = tmp_path / "out.mp4", tmp_path / "other.mp4"
    recorder = Recorder(path, SIZE, Fraction(25), UnevenTimeline(), file=reserve_film(path, "small"))
    other.write_bytes(b"somebody else's")
    other.replace(path) if replaces else path.write_bytes(other.read_bytes())
    with pytest.raises(SinkError, match=r"another (file has taken its place|program has written to it)"):
        recorder.send(plain_picture(9, 64, 64), 0.0)
    recorder.close()
    assert path.read_bytes() == b"somebody else's"


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks")
def test_two_recordings_never_share_a_file(tmp_path: Path) -> None:
    first = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), UnevenTimeline())
    first.send(plain_picture(9, 64, 64), 0.0)
    with pytest.raises(SinkError, match="another recording is being written there"):
        reserve_film(tmp_path / "out.mp4", "small")
    with pytest.raises(SinkError, match="another recording is being written there"):
        Recorder(tmp_path / "out.mp4", SIZE, Fraction(25))
    first.close()
    assert len(times_of(tmp_path / "out.mp4")) == 1


def test_what_is_discarded_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", SIZE, Fraction(25), UnevenTimeline())
    recorder.send(plain_picture(9, 64, 64), 0.0)
    recorder.discard()
    recorder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="Permission denied"):
        reserve_film(tmp_path / "out.mp4", "small")
    with pytest.raises(SinkError, match="Permission denied"):
        require_folder(tmp_path / "shots", is_for_pictures=True)


# --- folders of pictures ---


def test_a_folder_gets_every_picture_as_a_png(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "shots")
    noise = list(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))
    for index, picture in enumerate(noise):
        folder.send(picture, index / 25)
    folder.close()
    names = sorted(path.name for path in (tmp_path / "shots").iterdir())
    assert names == ["000001.png", "000002.png", "000003.png"]
    reader = open_clip(str(tmp_path / "shots"), 25)
    for picture in noise:
        np.testing.assert_array_equal(reader.read(), picture)
    if sys.platform != "win32":
        assert (tmp_path / "shots" / names[0]).stat().st_mode & 0o777 == 0o600


def test_pictures_never_go_among_others(tmp_path: Path) -> None:
    (tmp_path / "photo.JPG").write_bytes(b"somebody's")
    with pytest.raises(SinkError, match=r"holds pictures already, such as photo\.JPG; name an empty or new one"):
        require_folder(tmp_path, is_for_pictures=True)
    require_folder(tmp_path, is_for_pictures=False)
    folder = PictureFolder(tmp_path / "shots")
    (tmp_path / "shots" / "000001.png").write_bytes(b"somebody's")
    with pytest.raises(SinkError, match="another program has put it there; it stays as it is"):
        folder.send(plain_picture(9, 64, 64), 0.0)
    folder.close()
    assert (tmp_path / "shots" / "000001.png").read_bytes() == b"somebody's"


def test_a_folder_without_pictures_is_not_left(tmp_path: Path) -> None:
    PictureFolder(tmp_path / "shots").close()
    folder = PictureFolder(tmp_path / "more")
    folder.send(plain_picture(9, 64, 64), 0.0)
    folder.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_a_missing_place_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="there is no folder"):
        require_folder(tmp_path / "none" / "shots", is_for_pictures=True)
