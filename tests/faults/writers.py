"""What the product writes, with a disk that fails: `python tests/faults/writers.py FOLDER [KIND ...]`, under the shim.

`failing_writes.c` lets one write fail, in each of a few ways: this program does every kind of write once undisturbed,
counts what it takes, and then lets calls of a sample fail, or all of them (`--all`), each in a fork of its own. It
prints as JSON how many calls and tries there were, and what was wrong after them:

- a program that dies, shows a traceback, or fails without one line that says so;
- a success without a word though not everything was written;
- a file from before, or from this try, that is neither the old nor the new one;
- a draft that was left, though the program had time to clear it away;
- a second run, on a disk that is well again, that does not end with everything written;
- a file that took a name before the disk had its content.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import gc
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # run as a script

import cv2
import matplotlib
import numpy as np
import onnx
import torch

matplotlib.use("Agg")
import matplotlib.pyplot
import torch.utils.tensorboard  # before the forks

from avatarify_plus import settings
from avatarify_plus.bundle import Bundle, Manifest, open_bundle
from avatarify_plus.camera import open_clip
from avatarify_plus.engines.tensorrt_plans import PlanCache, PlanKey
from avatarify_plus.errors import AvatarifyError, CameraError
from avatarify_plus.network.checkpoint import Checkpoint, read_checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.tensor_names import signatures
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.program.command_line import configure_logging, print_report, run_program
from avatarify_plus.program.whole_folder import copy_folder
from avatarify_plus.sinks.picture_folder import PictureFolder
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.studio import model_in_use
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.types import Size
from export import onnx_bundle, quantize
from fakes import FakeTimeline
from training.data.cache import build_cache, open_cache
from training.loop.checkpoint import write_checkpoint
from training.loop.logbook import Logbook
from training.transfer import checkpoint_chunks, dataset_archive

KILLED = 137
SHORT, KILL = -1, -2
"""What stands for no errno, see `failing_writes.c`."""

FAULTS = {
    "full": (errno.ENOSPC, True),
    "quota": (errno.EDQUOT, True),
    "read-only": (errno.EROFS, True),
    "broken": (errno.EIO, False),
    "short": (SHORT, False),
    "kill": (KILL, False),
}
"""The faults by name: an errno, and whether all later calls of that kind fail, too."""

HANG_S = 20
"""What takes longer hangs; it then dies of a signal."""

TRIES = 4
"""So many calls and faults are drawn of each kind."""

DRAFTS = ("*.part", ".*.new", ".model-*")
"""What drafts are called, which a killed program leaves."""

FILM_HEADER = 3000
"""A film of fewer bytes holds no picture yet."""

Content = dict[str, bytes]
"""The files below a folder, by their paths in it."""


class Writer(NamedTuple):
    """One kind of what is written.

    before: make what was there before, in a folder. write: do the work there again, with other content. is_whole: says
    of a path in the folder whether what is there can be used; files that are as before or as after are. refuses_after:
    the exit codes after which a second run may refuse, since there is something already. ignored: names that may be
    there or not. fits_others: whether files must fit each other, so that all are looked at. varies: whether what is
    written differs from run to run, so that it is looked at instead of compared. may_go: whether what was there before
    may be cleared away first, since it can be made again. may_be_cut: whether a killed program may leave half a file.
    """

    before: Callable[[Path], None]
    write: Callable[[Path], None]
    is_whole: Callable[[Path], bool] = lambda path: False
    refuses_after: tuple[int, ...] = ()
    ignored: tuple[str, ...] = ()
    fits_others: bool = False
    varies: bool = False
    may_go: bool = False
    may_be_cut: bool = False


def picture(level: int, size: int = 64) -> np.ndarray:
    """Return a picture in which much changes with its level."""
    return np.random.default_rng(level).integers(0, 256, (size, size, 3), np.uint8)


def write_film(path: Path, is_live: bool, count: int) -> None:
    """Record a film."""
    timeline = None if is_live else FakeTimeline(Fraction(25))
    recorder = Recorder(path, Size(64, 64), Fraction(25), timeline)
    try:
        for number in range(count):
            recorder.send(picture(number), number / 25)
            if timeline is not None:
                timeline.end_s = (number + 1) / 25
    finally:
        recorder.close()


def plays(path: Path) -> bool:
    """Return whether a film shows pictures, or has just begun."""
    if path.stat().st_size <= FILM_HEADER:
        return True
    try:
        with contextlib.closing(open_clip(str(path), 25.0)) as clip:
            return clip.read() is not None
    except CameraError:
        return False


def write_pictures(folder: Path) -> None:
    """Fill a folder with pictures."""
    sink = PictureFolder(folder)
    try:
        for number in range(3):
            sink.send(picture(number), number / 25)
    finally:
        sink.close()


def checkpoint(step: int) -> Checkpoint:
    """Return a checkpoint of some kilobytes."""
    weights = {"weights": torch.full((5000,), float(step))}
    return Checkpoint(network_config("ours", "tiny"), weights, step=step)


def write_checkpoints(folder: Path, *steps: int) -> None:
    """Write checkpoints one after the other."""
    for step in steps:
        write_checkpoint(folder / "checkpoint.pt", checkpoint(step))


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a whole checkpoint."""
    return path.suffix == ".pt" and read_checkpoint(path).ema["weights"].shape == (5000,)


def write_log(folder: Path, steps: Sequence[int]) -> None:
    """Keep the log of a training."""
    log = Logbook(folder, min(steps) - 1)
    for step in steps:
        log.add(step, {"pixels": 1.0 / step})
        log.write(step, 4 * step, float(step), 1e-3, {})
        log.draw(step, picture(step))
    log.close()


def write_photos(folder: Path, level: int) -> Path:
    """Write a data set of two photos; return its folder."""
    folder = folder / "photos"
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        photo = folder / f"a_{number}.png"
        photo.write_bytes(cv2.imencode(".png", picture(level + number))[1].tobytes())
        os.utime(photo, (level, level))
    return folder


def is_part_of_a_cache(path: Path) -> bool:
    """Return whether a file belongs to a cache that is unfinished, or whole."""
    folder = path.parent
    return not (folder / "index.json").exists() or bool(open_cache(folder).clips)


def build(folder: Path, level: int) -> None:
    """Decode the data set."""
    build_cache(write_photos(folder, level), folder / "cache", 32, 1, subject="any")


PLAN = PlanKey("animate", "fp16", "model", "tensorrt", "11", "8.6", "")


def store_plan(folder: Path, level: int) -> None:
    """Keep an engine of TensorRT."""
    PlanCache(folder / "engines").store(PLAN, "model", {}, bytes([level]) * 5000)


def is_plan_or_passed_over(path: Path) -> bool:
    """Return whether the engines' cache gives a whole engine or none: one that is damaged is built again."""
    found = PlanCache(path.parent).find(PLAN)
    return found is None or len(found.read()) == 5000


def is_chunk(path: Path) -> bool:
    """Return whether chunks are without their list, which is written last, or fit together."""
    if not (path.parent / checkpoint_chunks.LIST).exists():
        return True
    checkpoint_chunks.join_chunks(path.parent, Path(tempfile.mkdtemp()) / "checkpoint.pt")
    return True


MODEL = AnimationModel(network_config("ours", "tiny", keypoints="learned", keypoint_count=2))
GRAPHS = tuple(signatures(MODEL.config))


def export_level(folder: Path, level: int) -> None:
    """Export a network, whose graphs are stood for by empty ones."""
    empty = onnx.ModelProto(producer_name=str(level) * 1000)
    stands_for = {
        "build_graphs": lambda *others: dict.fromkeys(GRAPHS),
        "check_inputs": lambda *others: dict.fromkeys(GRAPHS),
        "export_graph": lambda *others: empty,
        "compare_graph": lambda *others: {},
    }
    for name, stand_in in stands_for.items():
        setattr(onnx_bundle, name, stand_in)
    onnx_bundle.export_bundle(MODEL, folder, Manifest(name=f"model {level}", network=MODEL.config), force=True)


def quantize_level(folder: Path, level: int) -> None:
    """Put int8 graphs, which are stood for by a few bytes, into a bundle."""

    def write(path: Path, out: Path, *others: object) -> quantize.QuantizeReport:
        out.write_bytes(bytes([level]) * 5000)
        return quantize.QuantizeReport((), {}, level / 10, 1)

    quantize.quantize_file = write  # type: ignore[assignment]
    Bundle.graph = lambda self, name: self.folder / name  # type: ignore[method-assign]
    examples: dict[str, list[quantize.Example]] = {graph: [{}] for graph in GRAPHS}
    quantize.quantize_bundle(open_bundle(folder), examples, examples, 1.0)


def is_bundle(path: Path) -> bool:
    """Return whether the folder of a file is a whole model."""
    return bool(open_bundle(path.parent).manifest.files)


def keep_model(folder: Path, level: int) -> None:
    """Put an adapted model into its place among the user's own."""
    made = Path(tempfile.mkdtemp()) / "bundle"
    export_level(made, level)
    copy_folder(made, folder / "model")


def archive(folder: Path, level: int) -> None:
    """Pack the data set into an archive of two parts."""
    photos = write_photos(folder, level)
    one = max(file.stat().st_size for file in photos.iterdir())
    dataset_archive.write_archive(photos, folder / "cache", folder / "pack", round(one * 1.5), 32, 1)


def unpack(folder: Path) -> None:
    """Make a cache of an archive."""
    dataset_archive.unpack(folder / "pack", folder / "home", 32, 1)


def write_chunks(folder: Path, step: int) -> None:
    """Divide a checkpoint into chunks."""
    source = Path(tempfile.mkdtemp()) / "checkpoint.pt"
    write_checkpoint(source, checkpoint(step))
    checkpoint_chunks.write_chunks(source, folder / "chunks", 4000, False)


def join_chunks(folder: Path, step: int) -> None:
    """Join chunks into a checkpoint."""
    chunks = Path(tempfile.mkdtemp())
    source = chunks / "checkpoint.pt"
    write_checkpoint(source, checkpoint(step))
    checkpoint_chunks.write_chunks(source, chunks / "chunks", 4000, False)
    checkpoint_chunks.join_chunks(chunks / "chunks", folder / "checkpoint.pt")


def offer_photo(folder: Path) -> None:
    """Offer a photo in the studio."""
    tempfile.tempdir = str(folder)
    try:
        with Gallery() as gallery:
            gallery.add("face.png", cv2.imencode(".png", picture(1))[1].tobytes())
    finally:
        tempfile.tempdir = None


def nothing(folder: Path) -> None:
    """Leave the folder empty."""


def old_int8(folder: Path) -> None:
    """Export a network and put int8 graphs into its bundle."""
    export_level(folder / "model", 1)
    quantize_level(folder / "model", 1)


def report(folder: Path, level: int) -> None:
    """Print a report, and write it as JSON."""
    print_report(f"report {level}", {"level": level}, str(folder / "report.json"))


def old_films(folder: Path) -> None:
    """Write films of other lengths."""
    for suffix in ("mp4", "mkv", "gif"):
        write_film(folder / f"film.{suffix}", False, 3)


WRITERS = {
    "settings": Writer(lambda folder: settings.save({"zoom": 1.5}), lambda folder: settings.save({"zoom": 1.25})),
    "studio's model": Writer(lambda folder: model_in_use.keep("a"), lambda folder: model_in_use.keep("b")),
    "report": Writer(lambda folder: report(folder, 1), lambda folder: report(folder, 2)),
    "picture": Writer(
        lambda folder: write_png(folder / "a.png", picture(1)), lambda folder: write_png(folder / "a.png", picture(2))
    ),
    "film": Writer(old_films, lambda folder: write_film(folder / "film.mp4", False, 30), plays, varies=True),
    "film, mkv": Writer(old_films, lambda folder: write_film(folder / "film.mkv", False, 30), plays, varies=True),
    "film, gif": Writer(old_films, lambda folder: write_film(folder / "film.gif", False, 5), plays, may_be_cut=True),
    "live film": Writer(old_films, lambda folder: write_film(folder / "film.mp4", True, 30), plays, varies=True),
    "folder of pictures": Writer(
        nothing, lambda folder: write_pictures(folder / "pictures"), refuses_after=(0, 1, KILLED), may_be_cut=True
    ),
    "photo in the studio": Writer(nothing, offer_photo, ignored=("avatarify-studio-*",)),
    "checkpoint": Writer(
        lambda folder: write_checkpoints(folder, 1, 2),
        lambda folder: write_checkpoints(folder, 3, 4),
        is_checkpoint,
        varies=True,
    ),
    "log": Writer(
        lambda folder: write_log(folder, [1, 2]),
        lambda folder: write_log(folder, [3, 4]),
        lambda path: path.suffix in (".csv", ".png"),
        ignored=("tensorboard*",),
    ),
    "cache": Writer(
        lambda folder: build(folder, 1),
        lambda folder: build(folder, 5),
        is_part_of_a_cache,
        ignored=(".lock",),
        may_go=True,
    ),
    "archive": Writer(
        nothing,
        lambda folder: archive(folder, 1),
        is_part_of_a_cache,
        refuses_after=(0,),
        ignored=(".lock",),
        varies=True,
    ),
    "unpacked archive": Writer(
        lambda folder: archive(folder, 1), unpack, is_part_of_a_cache, ignored=(".lock",), may_go=True
    ),
    "chunks": Writer(
        lambda folder: write_chunks(folder, 1),
        lambda folder: write_chunks(folder, 2),
        is_chunk,
        fits_others=True,
        may_go=True,
    ),
    "joined chunks": Writer(
        lambda folder: join_chunks(folder, 1), lambda folder: join_chunks(folder, 2), is_checkpoint, varies=True
    ),
    "model": Writer(
        lambda folder: export_level(folder / "model", 1),
        lambda folder: export_level(folder / "model", 2),
        is_bundle,
        fits_others=True,
    ),
    "int8": Writer(
        old_int8, lambda folder: quantize_level(folder / "model", 2), is_bundle, fits_others=True, may_go=True
    ),
    "own model": Writer(
        lambda folder: keep_model(folder, 1), lambda folder: keep_model(folder, 2), is_bundle, fits_others=True
    ),
    "engine": Writer(
        lambda folder: store_plan(folder, 1),
        lambda folder: store_plan(folder, 2),
        is_plan_or_passed_over,
        fits_others=True,
    ),
}
"""Everything that is written, by its name."""


def files_below(folder: Path) -> Content:
    """Return what a folder holds."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a part of a path is named as one of the patterns says."""
    return any(Path(part).match(pattern) for part in Path(name).parts for pattern in patterns)


class Trial(NamedTuple):
    """What a run said and how it ended. calls: how many of its calls write; unsynced: see `failing_writes.c`."""

    code: int
    said: str
    calls: int
    unsynced: int


def in_fork(work: Callable[[], int], log: Path) -> tuple[int, str]:
    """Return the exit code of some work that is done in a process of its own, and what it says.

    So no library has threads in this process, which would not survive a fork.
    """
    child = os.fork()
    if not child:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        signal.alarm(HANG_S)
        code = 99
        try:
            code = work()
        except BaseException:  # a traceback is what is looked for
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


class Disk:
    """A folder on a disk that can be let fail: what is written there is counted."""

    def __init__(self, folder: Path) -> None:
        """folder: the one below which the shim, which must be loaded already, sees writes."""
        self.folder = folder
        self._shim = ctypes.CDLL(None)
        self.log = folder.with_name(f"{folder.name}.log")

    def holding(self, content: Content) -> None:
        """Let the folder hold this and nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for name, data in content.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)

    def run(self, work: Callable[[Path], None], call: int = 0, fault: int = 0, lasting: bool = False) -> Trial:
        """Do the work in a fork, as a program does it, with one call failing."""
        counts = Path(f"{self.log}.counts")
        counts.write_text("0 0")

        def begin() -> None:
            configure_logging(False)
            self._shim.fault_at(call, fault, int(lasting))
            work(self.folder)

        def run() -> int:
            try:
                return run_program(begin)
            finally:
                counts.write_text(f"{self._shim.fault_calls()} {self._shim.fault_unsynced_renames()}")

        code, said = in_fork(run, self.log)
        calls, unsynced = map(int, counts.read_text().split())
        return Trial(code, said, calls, unsynced)


def findings_of(disk: Disk, writer: Writer, tries: int | None, seed: str) -> dict[str, object]:
    """Return what is wrong with a kind of write on a failing disk; tries: how many are drawn, None for all."""
    disk.holding({})
    begun = disk.run(writer.before)
    before = files_below(disk.folder)
    undisturbed = disk.run(writer.write)
    after = files_below(disk.folder)
    problems = [f"undisturbed: it ends with {trial.code}: {trial.said}" for trial in (begun, undisturbed) if trial.code]
    if undisturbed.unsynced:
        problems.append(f"{undisturbed.unsynced} files take a name before the disk has their content")
    every = [(call, name) for call in range(1, undisturbed.calls + 1) for name in FAULTS]
    drawn = every if tries is None else random.Random(seed).sample(every, min(tries, len(every)))
    for call, name in drawn:
        disk.holding(before)
        trial = disk.run(writer.write, call, *FAULTS[name])
        left = files_below(disk.folder)
        wanted = {name: data for name, data in after.items() if not matches(name, writer.ignored)}
        there = {name: data for name, data in left.items() if not matches(name, writer.ignored)}
        is_done = there.keys() == wanted.keys() if writer.varies else there == wanted
        wrong = [*_wrong_ending(trial, name, is_done), *_wrong_files(disk, writer, trial, before, after)]
        again = disk.run(writer.write)
        if again.code and not (trial.code in writer.refuses_after and again.code == 1):
            wrong.append(f"the next run ends with {again.code}: {again.said}")
        elif not again.code:
            wrong += [f"after the next run, {problem}" for problem in _wrong_again(disk, writer, again, after)]
        problems += [f"call {call} of {undisturbed.calls}, {name}: {problem}" for problem in wrong]
    return {"calls": undisturbed.calls, "tries": len(drawn), "findings": problems}


def _wrong_ending(trial: Trial, fault: str, is_done: bool) -> list[str]:
    """Return what is wrong with how a run ended."""
    if "Traceback" in trial.said or "Exception" in trial.said:
        return [f"a traceback: {trial.said}"]
    errors, warnings = (trial.said.count(f"avatarify: {kind}: ") for kind in ("error", "warning"))
    if trial.code == 0:
        return [] if is_done or warnings or fault == "short" else ["it says nothing, and not all is written"]
    if trial.code == KILLED and fault == "kill":
        return []
    return [] if (trial.code, errors) == (1, 1) else [f"it ends with {trial.code}: {trial.said}"]


def _wrong_files(disk: Disk, writer: Writer, trial: Trial, before: Content, after: Content) -> list[str]:
    """Return what is wrong with the files that a disturbed run leaves."""
    left, problems, odd = files_below(disk.folder), [], []
    for name in sorted(before.keys() | left.keys()):
        if matches(name, writer.ignored):
            continue
        if name not in left:
            aside = Path(f".{Path(name).parts[0]}.old", *Path(name).parts[1:])  # see `program.whole_folder`
            if name in after and not writer.may_go and not (disk.folder / aside).exists():
                problems.append(f"{name} is gone")
        elif matches(name, DRAFTS):
            if trial.code != KILLED:
                problems.append(f"the draft {name} is left")
        elif trial.code == KILLED and writer.may_be_cut:
            continue
        elif writer.fits_others or left[name] not in (before.get(name), after.get(name)):
            odd.append(disk.folder / name)

    def look() -> int:
        for path in odd:
            try:
                if not writer.is_whole(path):
                    print(f"{path.name} is neither the old nor the new one")
            except AvatarifyError as error:
                print(f"{path.name} cannot be used: {error}")
        return 0

    code, said = in_fork(look, disk.log) if odd else (0, "")
    return [*problems, *said.splitlines(), *([f"looking at the files ends with {code}"] * bool(code))]


def _wrong_again(disk: Disk, writer: Writer, trial: Trial, after: Content) -> list[str]:
    """Return what differs from what an undisturbed run leaves, but for drafts of a killed run."""
    if writer.varies:
        return _wrong_files(disk, writer, trial._replace(code=KILLED), after, after)
    found = files_below(disk.folder)
    names = sorted(name for name in found.keys() | after.keys() if not matches(name, (*writer.ignored, *DRAFTS)))
    return [f"{name} is another than it should be" for name in names if found.get(name) != after.get(name)]


def write_in_place(folder: Path, text: str) -> None:
    """Write a file as nothing should."""
    try:
        (folder / "a.txt").write_text(text * 5000)
    except OSError as error:
        raise ValueError("what nobody expects") from error


IN_PLACE = "written in place"
BROKEN = Writer(lambda folder: write_in_place(folder, "old"), lambda folder: write_in_place(folder, "new"))
"""What must be found: every call of it fails, in every way."""


def main() -> int:
    """Print what was found as JSON; return whether anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder to write below")
    parser.add_argument("kinds", nargs="*", help="of what is written (default: all)")
    parser.add_argument("--all", action="store_true", help="let every call fail in every way, which takes minutes")
    options = parser.parse_args()
    logging.captureWarnings(True)
    torch.set_num_threads(1)
    gc.freeze()  # so that forks share it
    folder = options.folder.resolve()
    os.environ |= {"FAULTS_BELOW": str(folder), "XDG_CONFIG_HOME": str(folder)}
    disk, found, known = Disk(folder), {}, WRITERS | {IN_PLACE: BROKEN}
    for kind in options.kinds or known:
        takes_all = options.all or kind == IN_PLACE
        found[kind] = findings_of(disk, known[kind], None if takes_all else TRIES, kind)
    print(json.dumps(found, indent=1))
    return int(any(entry["findings"] for kind, entry in found.items() if kind != IN_PLACE))


if __name__ == "__main__":
    sys.exit(main())
