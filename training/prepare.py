"""Make training clips from raw footage: one face each, in a square that stays where it is."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.errors import ConfigError, DataError
from avatarify_plus.face.driver_framing import RISE_PER_FACE, SIDE_PER_FACE
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.face.photo_framing import tile_starts
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.whole_file import replaced, write_whole

# isort: split
import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from avatarify_plus.pictures.images import Box, crop
from avatarify_plus.program.option_fields import about, add_fields, positive, read_fields
from avatarify_plus.types import Image
from training.data.datasets import VIDEO_SUFFIXES, ClipError, frame_rate, stream_pictures
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
is taken for whose face it is. Videos that are done are not done again: stop at any time and run the same command to go
on."""

EXAMPLES = ("python training/prepare.py footage clips/train", "python training/train.py --data clips/train ...")

MAX_RATE_HZ = 30
"""Of a faster video only every second, third, ... frame is used."""

MAX_FACES = 4
"""This many faces are looked for at once, so that the followed one is not swapped for a neighbour."""

MIN_FACE_SHARE = 0.12
"""The detector misses faces smaller than about this share of the picture's longer side (measured; a mesh's box)."""

LOOK_CLOSER_EVERY = 10
"""Every tenth frame without a face is searched in parts, for small faces."""

CUT_CHANGE = 24.0
"""A mean change of a small picture's values, out of 255, above which the picture was cut. In 77 clips of talking people
the change from one frame to the next is 20 at most; unrelated pictures differ by 31 (median)."""

JUMP_OVERLAP = 0.5
"""A face whose box overlaps that of the frame before by less (intersection over union) has jumped: another face, or a
cut between two similar pictures. In those 77 clips it never falls below 0.54."""

LEFT_OVERLAP = 0.25
"""A face whose box overlaps the clip's first by less has left its place; as in FOMM's VoxCeleb."""

SIDE_PER_TRAVEL = 1.1
"""The square is at least this many times as long as the whole area that the face passes over."""

MIN_SHARE = 0.85
"""Where the picture is too small for the square, the square may shrink to this share of its side."""

MAX_SHIFT = 0.15
"""A square that reaches out of the picture may be moved by this share of its side."""

ENCODER_OPTIONS = {"crf": "18", "preset": "medium", "g": "25"}

MAX_VIDEOS_SHOWN = 40
"""How many videos the table has lines for; the report has all."""

Reason = Literal["no face", "too short", "face too small", "outside the picture"]
Boxes = NDArray[np.float32]
"""(..., 4): left, top, right, bottom in px."""


@dataclass(frozen=True, slots=True)
class Settings:
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
    settings: Settings


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


class Numbered(NamedTuple):
    """A picture (H, W, 3) with its number in the video."""

    number: int
    image: Image


@dataclass(slots=True)
class Stretch:
    """Frames that follow one face without a break, or that show none; without a face there are no boxes."""

    width: int
    height: int
    numbers: list[int] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)

    def choose(self, faces: Boxes) -> Boxes | None:
        """Return which of the next frame's boxes (N, 4) goes on with this stretch's face, if one does."""
        if not self.boxes or not len(faces):
            return None
        nearest: Boxes = faces[int(np.argmax(overlap(faces, self.boxes[-1])))]
        is_same = overlap(nearest, self.boxes[-1]) >= JUMP_OVERLAP and overlap(nearest, self.boxes[0]) >= LEFT_OVERLAP
        return nearest if is_same else None

    def ends(self, chosen: Boxes | None, faces: Boxes) -> bool:
        """Return whether the next frame belongs to another stretch; chosen: what `choose` returned of its faces."""
        return chosen is None if self.boxes else len(faces) > 0


class Region(NamedTuple):
    """A square part of a picture, in px."""

    left: int
    top: int
    side: int


class Cut(NamedTuple):
    """A clip to be written: its first and last frame number and its square."""

    first: int
    last: int
    square: Box


def overlap(boxes: Boxes, other: Boxes) -> Any:
    """Return the intersection over union of boxes (..., 4) with another box (4,)."""
    low, high = np.maximum(boxes[..., :2], other[:2]), np.minimum(boxes[..., 2:], other[2:])
    shared = np.maximum(high - low, 0).prod(-1)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (other[2:] - other[:2]).prod()
    return shared / (areas - shared)


def find_stretches(frames: Iterable[Numbered], min_face_px: float, max_frames: int) -> Iterator[Stretch]:
    """Divide frames at cuts, and each shot into stretches that follow one face, or none, up to a length."""
    for _, shot in itertools.groupby(frames, key=ShotNumber()):
        with FaceSearch(min_face_px) as search:
            yield from _follow(shot, search.find, max_frames)


class ShotNumber:
    """Count the cuts, frame after frame."""

    def __init__(self) -> None:
        self._shot = 0
        self._look: NDArray[np.int16] | None = None

    def __call__(self, frame: Numbered) -> int:
        """Return the number of the shot that a frame belongs to."""
        before = self._look
        self._look = cv2.resize(frame.image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.int16)
        if before is not None and np.abs(self._look - before).mean() > CUT_CHANGE:
            self._shot += 1
        return self._shot


class FaceSearch:
    """Find the boxes of the faces in a shot, frame after frame, even those too small to be found in a whole picture."""

    def __init__(self, min_face_px: float) -> None:
        self._part_px = math.ceil(min_face_px / MIN_FACE_SHARE)
        self._region: Region | None = None
        self._faceless_count = 0
        self._still = _open_mesh(tracking=False)
        self._tracker = _open_mesh(tracking=True)

    def __enter__(self) -> FaceSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self._still.close()
        self._tracker.close()

    def find(self, image: Image) -> Boxes:
        """Return the boxes (N, 4) of the faces in the next frame, largest first."""
        faces = _boxes_in(image, self._region, self._tracker)
        if not len(faces):
            self._aim(None)
            if self._faceless_count % LOOK_CLOSER_EVERY == 0:
                faces = self._look_closer(image)
        self._faceless_count = 0 if len(faces) else self._faceless_count + 1
        return faces

    def _look_closer(self, image: Image) -> Boxes:
        """Search a picture part by part; the face found first is followed in a part around it."""
        height, width = image.shape[:2]
        side = min(self._part_px, height, width)
        if side < max(height, width):
            for left, top in itertools.product(tile_starts(width, side), tile_starts(height, side)):
                faces = _boxes_in(image, Region(left, top, side), self._still)
                if len(faces):
                    middle = (faces[0, :2] + faces[0, 2:] - side) / 2
                    left, top = (int(place) for place in np.clip(middle, 0, [width - side, height - side]))
                    self._aim(Region(left, top, side))
                    return faces
        return np.empty((0, 4), np.float32)

    def _aim(self, region: Region | None) -> None:
        """Follow faces in another region; the tracker must not look for the old face's place there."""
        if region != self._region:
            self._tracker.close()
            self._tracker = _open_mesh(tracking=True)
            self._region = region


def _open_mesh(tracking: bool) -> FaceMesh:
    return FaceMesh(tracking, refine=False, max_faces=MAX_FACES)


def _boxes_in(image: Image, region: Region | None, mesh: FaceMesh) -> Boxes:
    """Return the boxes (N, 4) of the faces in a region, or in the whole picture, in the picture's px."""
    left, top, height, width = 0, 0, *image.shape[:2]
    if region is not None:
        left, top, height, width = region.left, region.top, region.side, region.side
    found = mesh.find_all(np.ascontiguousarray(image[top : top + height, left : left + width]))
    boxes = [np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]) for points in found]
    scale, origin = np.array([width, height] * 2, np.float32), np.array([left, top] * 2, np.float32)
    return np.array(boxes, np.float32).reshape(-1, 4) * scale + origin


def _follow(shot: Iterable[Numbered], find_faces: Callable[[Image], Boxes], max_frames: int) -> Iterator[Stretch]:
    """Yield the stretches of a shot; a new one starts with the largest face."""
    stretch: Stretch | None = None
    for number, image in shot:
        faces = find_faces(image)
        box = stretch.choose(faces) if stretch else None
        if stretch is not None and (stretch.ends(box, faces) or len(stretch.boxes) == max_frames):
            yield stretch
            stretch = None
        if stretch is None:
            stretch = Stretch(image.shape[1], image.shape[0])
            box = faces[0] if box is None and len(faces) else box
        stretch.numbers.append(number)
        if box is not None:
            stretch.boxes.append(box)
    if stretch is not None:
        yield stretch


def judge(stretch: Stretch, settings: Settings, rate_hz: Fraction) -> Cut | Reason:
    """Return the clip that a stretch gives, or why it gives none."""
    if not stretch.boxes:
        return "no face"
    if len(stretch.numbers) < settings.min_seconds * rate_hz:
        return "too short"
    square = place_square(np.array(stretch.boxes), stretch.width, stretch.height)
    if square is None:
        return "outside the picture"
    return (
        "face too small" if square.width < settings.min_size else Cut(stretch.numbers[0], stretch.numbers[-1], square)
    )


def place_square(boxes: Boxes, width: int, height: int) -> Box | None:
    """Return the square for a face's boxes (N, 4), in whole pixels; None if it does not fit in the picture."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    length = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(-1)))
    wanted = max(SIDE_PER_FACE * length, SIDE_PER_TRAVEL * float((high - low).max()))
    side = math.floor(min(wanted, width, height))
    corner = (low + high) / 2 - [0, RISE_PER_FACE * length] - side / 2
    moved = np.clip(np.rint(corner), 0, [width - side, height - side])
    is_far = np.abs(moved - corner).max() > MAX_SHIFT * side
    is_cut_off = (low < moved).any() or (high > moved + side).any()
    if side < MIN_SHARE * wanted or is_far or is_cut_off:
        return None
    return Box(int(moved[0]), int(moved[1]), side, side)


class Footage:
    """A video's frames, at most MAX_RATE_HZ a second, up to where it breaks off: that is its `problem`."""

    def __init__(self, path: Path) -> None:
        """Open a video. Raises ClipError if that fails."""
        rate_hz = frame_rate(path)
        self._path = path
        self._step = math.ceil(rate_hz / (MAX_RATE_HZ * Fraction("1.01")))
        self.rate_hz = (rate_hz / self._step).limit_denominator(1001)
        self.seconds = 0.0
        self.problem: str | None = None

    def frames(self) -> Iterator[Numbered]:
        """Yield the frames from the start."""
        self.seconds, self.problem = 0.0, None
        try:
            for number, image in enumerate(stream_pictures(self._path)):
                if number % self._step == 0:
                    self.seconds += float(1 / self.rate_hz)
                    yield Numbered(number, image)
        except ClipError as error:
            self.problem = error.reason


def prepare_video(job: FootageJob) -> Outcome:
    """Write a video's clips, then the note that it is done. Raises DataError if they cannot be written."""
    try:
        footage = Footage(job.video)
    except ClipError as error:
        outcome = Outcome(job.label, 0.0, [], {}, error.reason)
    else:
        cuts: list[Cut] = []
        rejected: Counter[Reason] = Counter()
        max_frames = math.floor(job.settings.max_seconds * footage.rate_hz)
        for stretch in find_stretches(footage.frames(), job.settings.min_size / SIDE_PER_FACE, max_frames):
            judgement = judge(stretch, job.settings, footage.rate_hz)
            if isinstance(judgement, Cut):
                cuts.append(judgement)
            else:
                rejected[judgement] += 1
        seconds, problem = round(footage.seconds, 2), footage.problem
        outcome = Outcome(job.label, seconds, _write_clips(footage, cuts, job), dict(rejected), problem)
    _write_note(job, outcome)
    return outcome


def _write_clips(footage: Footage, cuts: list[Cut], job: FootageJob) -> list[MadeClip]:
    """Read a video once more and write its clips, each whole or not at all."""
    made = []
    frames = footage.frames() if cuts else iter(())
    for cut in cuts:
        name, count = f"{job.label}#{cut.first:06d}#{cut.last:06d}.mp4", 0
        try:
            with (
                replaced(job.out / name) as draft,
                mp4_writer(draft, job.settings.size, footage.rate_hz) as write,
            ):
                for number, image in frames:
                    if number >= cut.first:
                        write(crop(image, cut.square, job.settings.size))
                        count += 1
                    if number == cut.last:
                        break
        except (OSError, ValueError) as error:  # PyAV's errors are both, by kind
            raise DataError(f"cannot write {job.out / name}: {error}; check the free space of the disk") from error
        square = (int(cut.square.left), int(cut.square.top), int(cut.square.width))
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


def find_jobs(videos: Path, out: Path, settings: Settings) -> list[FootageJob]:
    """Return a job for each video below a folder, or for one video.

    Raises DataError if there is none or if two would give clips of the same names.
    """
    folder = videos if videos.is_dir() else videos.parent
    paths = sorted(videos.rglob("*")) if videos.is_dir() else [videos]
    jobs: dict[str, FootageJob] = {}
    for path in paths:
        is_made_here = out.resolve() in path.resolve().parents
        if path.suffix.lower() not in VIDEO_SUFFIXES or path.name.startswith(".") or is_made_here or not path.is_file():
            continue
        label = "#".join(path.relative_to(folder).with_suffix("").parts)
        if label in jobs:
            raise DataError(f"{jobs[label].video} and {path} would give clips of the same names: rename one")
        jobs[label] = FootageJob(path, label, out, settings)
    if not jobs:
        raise DataError(f"no videos found in {videos}; known are {', '.join(VIDEO_SUFFIXES)}")
    return list(jobs.values())


# A video is done when it has a note in OUT/.done, which is written after its clips.


def _note(job: FootageJob) -> Path:
    return job.out / ".done" / f"{job.label}.json"


def _circumstances(job: FootageJob) -> dict[str, Any]:
    """Return what a video's clips depend on, besides this program."""
    state = job.video.stat()
    return {"settings": asdict(job.settings), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _write_note(job: FootageJob, outcome: Outcome) -> None:
    write_whole(_note(job), json.dumps(_circumstances(job) | {"outcome": asdict(outcome)}))


def _read_note(job: FootageJob) -> Outcome | None:
    """Return what became of a video before, if it was finished under the same circumstances."""
    if not _note(job).exists():
        return None
    values = json.loads(_note(job).read_text())
    outcome = values.pop("outcome")
    if values != _circumstances(job):
        return None
    clips = [MadeClip(**clip | {"square": tuple(clip["square"])}) for clip in outcome.pop("clips")]
    return Outcome(clips=clips, **outcome)


def _clear(out: Path, labels: set[str]) -> None:
    """Remove the clips of videos that are to be done again, and what a killed run left unfinished."""
    for path in out.glob("*.mp4"):
        label, *numbers = path.stem.rsplit("#", 2)
        if label in labels and len(numbers) == 2 and all(len(n) >= 6 and n.isdecimal() for n in numbers):
            path.unlink()
    for path in out.glob(".*.mp4-*.part"):
        if path.name[1:].rsplit("#", 2)[0] in labels:
            path.unlink()


def prepare(videos: Path, out: Path, settings: Settings, processes: int) -> list[Outcome]:
    """Make the clips of all videos, going on where an earlier run stopped, and write the report.

    Raises DataError if there are no videos or nothing can be written.
    """
    jobs = find_jobs(videos, out, settings)
    try:
        (out / ".done").mkdir(parents=True, exist_ok=True)
        outcomes = {job.label: outcome for job in jobs if (outcome := _read_note(job)) is not None}
        pending = [job for job in jobs if job.label not in outcomes]
        if outcomes:
            logger.info("%d of %d videos are done already", len(outcomes), len(jobs))
        _clear(out, {job.label for job in pending})
        for outcome in tqdm(each_result(prepare_video, pending, processes), total=len(pending), unit="video"):
            outcomes[outcome.video] = outcome
        ordered = [outcomes[job.label] for job in jobs]
        write_whole(out / "report.json", json.dumps(report(ordered, settings), indent=1) + "\n")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error}; check its permissions and the free space") from error
    return ordered


def report(outcomes: list[Outcome], settings: Settings) -> dict[str, Any]:
    """Return what became of all videos, and the sums."""
    return {
        "settings": asdict(settings),
        "videos": [asdict(outcome) for outcome in outcomes],
        "damaged": {outcome.video: outcome.problem for outcome in outcomes if outcome.problem},
        "clips": sum(len(outcome.clips) for outcome in outcomes),
        "seconds": round(sum(outcome.seconds for outcome in outcomes), 2),
        "seconds_kept": round(sum(_kept_seconds(outcome) for outcome in outcomes), 2),
        "rejected": dict(_all_rejected(outcomes)),
    }


def table(outcomes: list[Outcome]) -> str:
    """Return the report for people."""
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
    add_fields(parser, Settings)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code, see `program.command_line`."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    settings = read_fields(parser, Settings, options)
    configure_logging(options.verbose, NEWS)

    def work() -> None:
        outcomes = prepare(options.videos, options.out, settings, options.processes)
        print(table(outcomes))
        if not any(outcome.clips for outcome in outcomes):
            raise DataError(f"no clip came out of {options.videos}; the table says why")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
