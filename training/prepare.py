"""Make training clips from raw footage: one face each, in a square that stays where it is."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.face.driver_framing import RISE_PER_FACE, SIDE_PER_FACE
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.whole_file import replaced, write_whole

# isort: split
import av
import numpy as np
from tqdm import tqdm

from avatarify_plus.pictures.images import Box, crop
from avatarify_plus.pictures.video_suffixes import VIDEO_SUFFIXES
from avatarify_plus.program.option_fields import about, add_fields, positive, read_fields
from avatarify_plus.types import Image
from training.data.datasets import (
    TEXT_SUFFIXES,
    ClipError,
    frame_rate,
    is_litter,
    is_still,
    named,
    stream_pictures,
    video_seconds,
)
from training.data.face_tracks import Boxes, NumberedFrame, Stretch, find_stretches
from training.data.parallel import each_result

logger = logging.getLogger("training.prepare")

NEWS = ("training.prepare",)
"""The loggers whose news everybody gets."""

DESCRIPTION = """\
Make training clips from raw footage: one face each, in a square that stays where it is.

The faces of each video are followed from frame to frame. A clip ends where the picture is cut, where the face is lost
or jumps, or where it has left the place where it was first seen (as the First Order Motion Model's VoxCeleb was made).
Its square holds the face in every frame. Clips are named video#first#last.mp4 by the video's frame numbers; a video in
subfolders is named by them too (id10001/interview.mp4 -> id10001#interview#...), and what stands before the first '#'
is taken for whose face it is. Of a folder, files that are not named as videos are left out, and named. Videos that are
done are not done again: stop at any time and run the same command to go on."""

EXAMPLES = ("python training/prepare.py footage clips/train", "python training/train.py --data clips/train ...")

MIN_RATE_HZ = Fraction(1, 1001)
"""Slower videos, such as some of weather, count as so fast."""

MAX_RATE_HZ = 30
"""The maximum frame rate of a clip; of a faster video only every second, third, ... frame is used."""

SIDE_PER_TRAVEL = 1.1
"""The square is at least this many times as long as the whole area that the face passes over."""

SIDE_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Shares of its side that a square which reaches out of the picture may shrink to; the first that fits is taken.

Of 94 of the clips that the shipped models were trained on, 5 % have squares of 0.85 or less, 1 % of 0.72; and training
itself cuts squares of 0.8 of a side out of all of them (`smallest_square`).
"""

MAX_SHIFT = 0.15
"""A square that reaches out of the picture may be moved by this share of its side.

Of the same clips, 5 % have the face 0.13 off the middle, 1 % 0.2.
"""

PARTS_PER_CLIP = 10
"""Where a stretch of frames may be divided: at every tenth of the minimum length of a clip."""

ENCODER_OPTIONS = {"crf": "18", "preset": "medium", "g": "25"}

MAX_VIDEOS_SHOWN = 40
"""How many videos the table has lines for; the report has all."""

Reason = Literal["no face", "too short", "face too small", "outside the picture"]


@dataclass(frozen=True, slots=True)
class ClipRules:
    """What a clip has to be like."""

    size: int = field(default=256, metadata=about("clips", "side of the clips in px", "PX"))
    min_size: int = field(default=192, metadata=about("clips", "minimum side of the square in the video, in px", "PX"))
    min_seconds: float = field(default=2.0, metadata=about("clips", "minimum length of a clip", "SECONDS"))
    max_seconds: float = field(default=20.0, metadata=about("clips", "longer stretches are divided", "SECONDS"))

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 2:
            raise ConfigError(f"--size must be even and at least 16, found {self.size}")
        if self.min_size < 16:
            raise ConfigError(f"--min-size must be at least 16, found {self.min_size}")
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ConfigError(
                f"--min-seconds must be positive and at most --max-seconds, found {self.min_seconds} and "
                f"{self.max_seconds}"
            )


@dataclass(frozen=True, slots=True)
class FootageJob:
    """One video to make clips from."""

    video: Path
    label: str
    out: Path
    rules: ClipRules


class FootageList(NamedTuple):
    """The videos to make clips from, and other files below their folder that are not texts, by their paths there."""

    jobs: list[FootageJob]
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class MadeClip:
    """A clip that was written: its file, its length, and its square in the video (left, top, side in px)."""

    name: str
    frames: int
    seconds: float
    square: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a video. rejected: how many stretches of it by reason. problem: why it breaks off, if it does."""

    video: str
    seconds: float
    clips: list[MadeClip]
    rejected: dict[Reason, int]
    problem: str | None


class Prepared(NamedTuple):
    """What became of all videos, and the files that were left out."""

    outcomes: list[Outcome]
    left_out: list[str]


class ClipRange(NamedTuple):
    """A clip to be written: its first and last frame number and its square."""

    first: int
    last: int
    square: Box


def clips_or_reasons(stretch: Stretch, rules: ClipRules, rate_hz: Fraction) -> list[ClipRange | Reason]:
    """Return the clip that a stretch gives, or why it gives none.

    Where no one square fits into the picture, because the head is too near to its edge for a while, the stretch is
    divided and what is left of it is given up; then both are returned.
    """
    whole = clip_or_reason(stretch, rules, rate_hz)
    if whole != "outside the picture":
        return [whole]
    min_frames = math.ceil(rules.min_seconds * rate_hz)
    return [*(clip_or_reason(part, rules, rate_hz) for part in _parts_inside(stretch, min_frames)), whole]


def _parts_inside(stretch: Stretch, min_frames: int) -> Iterator[Stretch]:
    """Yield parts of a stretch for which there is a square inside the picture, each as long as can be."""
    boxes, step = np.array(stretch.boxes), max(1, min_frames // PARTS_PER_CLIP)
    start = 0
    while start + min_frames <= len(boxes):
        for end in range(len(boxes), start + min_frames - 1, -step):
            if place_square(boxes[start:end], stretch.width, stretch.height) is not None:
                yield Stretch(stretch.width, stretch.height, stretch.numbers[start:end], stretch.boxes[start:end])
                start = end
                break
        else:
            start += step


def clip_or_reason(stretch: Stretch, rules: ClipRules, rate_hz: Fraction) -> ClipRange | Reason:
    """Return the clip that a stretch gives as a whole, or why it gives none."""
    if not stretch.boxes:
        return "no face"
    if len(stretch.numbers) < rules.min_seconds * rate_hz:
        return "too short"
    square = place_square(np.array(stretch.boxes), stretch.width, stretch.height)
    if square is None:
        return "outside the picture"
    if square.width < rules.min_size:
        return "face too small"
    return ClipRange(stretch.numbers[0], stretch.numbers[-1], square)


def place_square(boxes: Boxes, width: int, height: int) -> Box | None:
    """Return the square for a face's boxes (N, 4), in whole pixels; None if it does not fit in the picture.

    A square that reaches out of the picture is moved by up to MAX_SHIFT and shrunk as little as it takes, see
    SIDE_SHARES; the face stays inside it in every frame.
    """
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    length = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(-1)))
    wanted = max(SIDE_PER_FACE * length, SIDE_PER_TRAVEL * float((high - low).max()))
    centre = (low + high) / 2 - [0, RISE_PER_FACE * length]
    for share in SIDE_SHARES:
        side = math.floor(min(share * wanted, width, height))
        if side + 1 <= SIDE_SHARES[-1] * wanted:
            break  # the picture is too small
        corner = centre - side / 2
        moved = np.clip(np.rint(corner), 0, [width - side, height - side])
        is_far = np.abs(moved - corner).max() > MAX_SHIFT * side
        is_cut_off = (low < moved).any() or (high > moved + side).any()
        if not is_far and not is_cut_off:
            return Box(int(moved[0]), int(moved[1]), side, side)
    return None


class Footage:
    """A video's frames, at most MAX_RATE_HZ a second, up to where it breaks off: that is its `problem`."""

    def __init__(self, path: Path) -> None:
        """Open a video. Raises ClipError if that fails."""
        rate_hz = frame_rate(path)
        self._path = path
        self._step = math.ceil(rate_hz / (MAX_RATE_HZ * Fraction("1.01")))
        self.rate_hz = max((rate_hz / self._step).limit_denominator(1001), MIN_RATE_HZ)
        self.seconds = 0.0
        self.problem: str | None = None

    def frames(self) -> Iterator[NumberedFrame]:
        """Yield the frames from the start."""
        self.seconds, self.problem = 0.0, None
        try:
            for number, image in enumerate(stream_pictures(self._path)):
                if number % self._step == 0:
                    self.seconds += float(1 / self.rate_hz)
                    yield NumberedFrame(number, image)
        except ClipError as error:
            self.problem = error.reason


def prepare_video(job: FootageJob) -> Outcome:
    """Write a video's clips, then the note that it is done. Raises DataError if they cannot be written."""
    try:
        footage = Footage(job.video)
    except ClipError as error:
        outcome = Outcome(job.label, 0.0, [], {}, error.reason)
    else:
        ranges: list[ClipRange] = []
        rejected: Counter[Reason] = Counter()
        max_frames = math.floor(job.rules.max_seconds * footage.rate_hz)
        for stretch in find_stretches(footage.frames(), job.rules.min_size / SIDE_PER_FACE, max_frames):
            for found in clips_or_reasons(stretch, job.rules, footage.rate_hz):
                if isinstance(found, ClipRange):
                    ranges.append(found)
                else:
                    rejected[found] += 1
        seconds, problem = round(footage.seconds, 2), footage.problem
        outcome = Outcome(job.label, seconds, _write_clips(footage, ranges, job), dict(rejected), problem)
    _write_note(job, outcome)
    return outcome


def _write_clips(footage: Footage, ranges: list[ClipRange], job: FootageJob) -> list[MadeClip]:
    """Read a video once more and write its clips, each whole or not at all."""
    made = []
    frames = footage.frames() if ranges else iter(())
    for clip in ranges:
        name, count = f"{job.label}#{clip.first:06d}#{clip.last:06d}.mp4", 0
        try:
            with (
                replaced(job.out / name) as draft,
                mp4_writer(draft, job.rules.size, footage.rate_hz) as write,
            ):
                for number, image in frames:
                    if number >= clip.first:
                        write(crop(image, clip.square, job.rules.size))
                        count += 1
                    if number == clip.last:
                        break
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"cannot write {job.out / name}: {error}; check the free space of the disk") from error
        square = (int(clip.square.left), int(clip.square.top), int(clip.square.width))
        made.append(MadeClip(name, count, round(float(count / footage.rate_hz), 2), square))
    return made


@contextlib.contextmanager
def mp4_writer(path: Path, size: int, rate_hz: Fraction) -> Iterator[Callable[[Image], None]]:
    """Yield a function that appends a picture (size, size, 3) to an H.264 video."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate_hz, options=ENCODER_OPTIONS)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # videos run in parallel already

        def write(image: Image) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

        yield write
        container.mux(stream.encode(None))


def find_footage(videos: Path, out: Path, rules: ClipRules) -> FootageList:
    """Return a job for each video below a folder, or for one video, whatever it is called.

    Of videos that differ by their suffix alone, all but the first have it in their label. Files and folders whose names
    begin with a dot do not count. Raises DataError if there is no video or if two would give clips of the same names.
    """
    if videos.is_file():
        if is_still(videos):
            raise DataError(f"{videos} is a picture: clips are made of videos")
        return FootageList([FootageJob(videos, videos.stem, out, rules)], [])
    if not videos.is_dir():
        raise DataError(f"there is no folder or video {videos}")
    jobs: dict[str, FootageJob] = {}
    left_out: list[str] = []
    made_here = out.resolve()
    for path in sorted(videos.rglob("*")):
        inner = path.relative_to(videos)
        is_hidden = any(map(is_litter, inner.parts))
        if is_hidden or made_here in path.resolve().parents or path.is_dir():
            continue
        if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            left_out += [inner.as_posix()] if path.suffix.lower() not in TEXT_SUFFIXES else []
            continue
        label = "#".join(inner.with_suffix("").parts)
        if label in jobs:
            label += f"#{path.suffix[1:]}"
        if label in jobs:
            raise DataError(f"{jobs[label].video} and {path} would give clips of the same names: rename one")
        jobs[label] = FootageJob(path, label, out, rules)
    if not jobs:
        others = f", but {named(left_out)}" if left_out else ""
        raise DataError(f"no videos found in {videos}{others}: their names end in {', '.join(VIDEO_SUFFIXES[:8])} ...")
    return FootageList(list(jobs.values()), left_out)


# A video is done when it has a note in OUT/.done, which is written after its clips.


def _note(job: FootageJob) -> Path:
    return job.out / ".done" / f"{job.label}.json"


def _circumstances(job: FootageJob) -> dict[str, Any]:
    """Return what a video's clips depend on, besides this program."""
    state = job.video.stat()
    return {"settings": asdict(job.rules), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _write_note(job: FootageJob, outcome: Outcome) -> None:
    write_whole(_note(job), json.dumps(_circumstances(job) | {"outcome": asdict(outcome)}))


def _read_note(job: FootageJob) -> Outcome | None:
    """Return what became of a video before, if it was finished under the same circumstances.

    A note that is damaged counts as none: the video is done again.
    """
    try:
        values = json.loads(_note(job).read_text())
        outcome = values.pop("outcome")
        if values != _circumstances(job):
            return None
        clips = [MadeClip(**clip | {"square": tuple(clip["square"])}) for clip in outcome.pop("clips")]
        found = Outcome(clips=clips, **outcome)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        found = None
    if found is None or not _is_sound(found):
        logger.warning("%s is damaged: %s is done again", _note(job), job.label)
        return None
    return found


def _is_sound(outcome: Outcome) -> bool:
    """Return whether an outcome that was read holds what it should."""
    counts = outcome.rejected.items() if isinstance(outcome.rejected, dict) else [(None, None)]
    return (
        isinstance(outcome.video, str)
        and _is_number(outcome.seconds)
        and all(reason in get_args(Reason) and type(count) is int for reason, count in counts)
        and isinstance(outcome.problem, (str, type(None)))
        and all(
            isinstance(clip.name, str)
            and type(clip.frames) is int
            and _is_number(clip.seconds)
            and len(clip.square) == 3
            and all(type(side) is int for side in clip.square)
            for clip in outcome.clips
        )
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]  # a type check by another name


def _clear(out: Path, labels: set[str]) -> None:
    """Remove the clips of videos that are to be done again, and what a killed run left unfinished."""
    for path in out.glob("*.mp4"):
        label, *numbers = path.stem.rsplit("#", 2)
        if label in labels and len(numbers) == 2 and all(len(n) >= 6 and n.isdecimal() for n in numbers):
            path.unlink()
    for path in out.glob(".*.mp4-*.part"):
        if path.name[1:].rsplit("#", 2)[0] in labels:
            path.unlink()


def prepare(videos: Path, out: Path, rules: ClipRules, processes: int) -> Prepared:
    """Make the clips of all videos, going on where an earlier run stopped, and write the report.

    Raises DataError if there are no videos or nothing can be written.
    """
    jobs, left_out = find_footage(videos, out, rules)
    try:
        (out / ".done").mkdir(parents=True, exist_ok=True)
        outcomes = {job.label: outcome for job in jobs if (outcome := _read_note(job)) is not None}
        pending = [job for job in jobs if job.label not in outcomes]
        if outcomes:
            logger.info("%d of %d videos are done already", len(outcomes), len(jobs))
        _clear(out, {job.label for job in pending})
        for outcome in tqdm(each_result(prepare_video, pending, processes), total=len(pending), unit="video"):
            outcomes[outcome.video] = outcome
        prepared = Prepared([outcomes[job.label] for job in jobs], left_out)
        write_whole(out / "report.json", json.dumps(report(prepared, rules), indent=1) + "\n")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error}; check its permissions and the free space") from error
    return prepared


def overview(videos: Path, out: Path, rules: ClipRules) -> str:
    """Return for people which videos would be used, how long they are and whose face they show; none is decoded.

    Raises DataError if there is none.
    """
    jobs, left_out = find_footage(videos, out, rules)
    lines = []
    for job in jobs:
        try:
            length = f"{video_seconds(job.video):.1f} s" if not _note(job).exists() else "done before"
        except ClipError as error:
            length = f"damaged: {error.reason}"
        lines.append(f"{job.label} ({length}), of {job.label.partition('#')[0]}")
    shown = lines[:MAX_VIDEOS_SHOWN]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} more videos")
    people = len({job.label.partition("#")[0] for job in jobs})
    shown.append(f"{len(jobs)} videos, by their names of {people} people; clips of {rules.size} px would go to {out}")
    if left_out:
        shown.append(f"left out, not named as videos are: {named(left_out)}")
    return "\n".join(shown)


def report(prepared: Prepared, rules: ClipRules) -> dict[str, Any]:
    """Return what became of all videos, and the sums."""
    outcomes = prepared.outcomes
    return {
        "settings": asdict(rules),
        "videos": [asdict(outcome) for outcome in outcomes],
        "damaged": {outcome.video: outcome.problem for outcome in outcomes if outcome.problem},
        "clips": sum(len(outcome.clips) for outcome in outcomes),
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 2),
        "seconds_kept": round(sum(_kept_seconds(outcome) for outcome in outcomes), 2),
        "rejected": dict(_all_rejected(outcomes)),
        "left_out": prepared.left_out,
    }


def table(prepared: Prepared) -> str:
    """Return the report for people."""
    outcomes, left_out = prepared
    lines = [f"{'clips':>6}{'kept s':>9}{'of s':>9}  video (stretches left out)"]
    for outcome in outcomes[:MAX_VIDEOS_SHOWN]:
        lines.append(
            _line(len(outcome.clips), _kept_seconds(outcome), outcome.seconds, outcome.video, outcome.rejected)
        )
    if len(outcomes) > MAX_VIDEOS_SHOWN:
        lines.append(f"... and {len(outcomes) - MAX_VIDEOS_SHOWN} more videos")
    kept = [_kept_seconds(outcome) for outcome in outcomes]
    clips, seconds = sum(len(outcome.clips) for outcome in outcomes), sum(outcome.seconds for outcome in outcomes)
    lines.append(_line(clips, sum(kept), seconds, "all", _all_rejected(outcomes)))
    lines += [f"damaged: {o.video} after {o.seconds:.1f} s ({o.problem})" for o in outcomes if o.problem]
    if left_out:
        lines.append(f"left out, not named as videos are: {named(left_out)}")
    return "\n".join(lines)


def _line(clips: int, kept_s: float, seconds: float, name: str, rejected: dict[Reason, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    return f"{clips:6}{kept_s:9.1f}{seconds:9.1f}  {name}{f' ({reasons})' if reasons else ''}"


def _kept_seconds(outcome: Outcome) -> float:
    return sum(clip.seconds for clip in outcome.clips)


def _all_rejected(outcomes: list[Outcome]) -> Counter[Reason]:
    counts: Counter[Reason] = Counter()
    for outcome in outcomes:
        counts.update(outcome.rejected)
    return counts


def build_parser() -> ProgramParser:
    """Return the command line's parser."""
    parser = ProgramParser(prog="python training/prepare.py", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument("videos", type=Path, help="folder of raw footage, with subfolders, or one video")
    parser.add_argument("out", type=Path, help="folder for the clips and report.json")
    parser.add_argument(
        "--processes",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="read N videos at a time (default: all cores)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print which videos would be used and stop")
    add_fields(parser, ClipRules)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    rules = read_fields(parser, ClipRules, options)
    configure_logging(options.verbose, NEWS)

    def work() -> None:
        if options.dry_run:
            print(overview(options.videos, options.out, rules))
            return
        prepared = prepare(options.videos, options.out, rules, options.processes)
        print(table(prepared))
        if not any(outcome.clips for outcome in prepared.outcomes):
            raise DataError(f"no clip came out of {options.videos}; the table says why")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
