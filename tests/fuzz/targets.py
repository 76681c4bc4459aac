"""What is fuzzed: everything that reads files, texts or messages that may come from elsewhere. Without torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from avatarify_plus import app, settings
from avatarify_plus.bundle import SHIPPED, describe, open_bundle
from avatarify_plus.camera import open_clip
from avatarify_plus.camera.camera_argument import _is_film
from avatarify_plus.engines.tensorrt_plans import PlanCache
from avatarify_plus.errors import AvatarifyError, ConfigError
from avatarify_plus.network.onnx_file import read_graph
from avatarify_plus.pictures.images import photo_of
from avatarify_plus.program.addresses import by_proxy, shown
from avatarify_plus.remote.link import socket_address
from avatarify_plus.web.page_control import PageControl
from avatarify_plus.web.session_page import key_press, named_press, wanted_values
from export.fomm_config import read_config
from films import write_film
from heic_files import write_heic
from mutation import (
    Change,
    changed_json,
    changed_lines,
    changed_message,
    changed_png,
    changed_zip,
    mutated,
)
from training import prepare
from training.data.cache import Clip, build_cache, open_cache, sound_index, take_stock
from training.data.datasets import FoundClip, find_clips, read_pairs
from training.transfer.dataset_archive import unpack, write_archive

ROOT = Path(__file__).resolve().parents[2]

MAX_PICTURES = 40
"""So many pictures of a film are read: a header may promise millions."""

SIDE = 32
"""The side of the pictures of caches, in pixels."""


class Target(NamedTuple):
    """A reader.

    seeds: files that it takes, which may be made in a folder. suffix: how their names end. read: reads one. change:
    what is done to them besides any change of bytes.
    """

    seeds: Callable[[Path], list[bytes]]
    suffix: str
    read: Callable[[Path], object]
    change: Change = mutated


def picture() -> Pillow.Image:
    """Return a small picture of many colours."""
    line = np.linspace(0, 255, 48, dtype=np.uint8)
    return Pillow.fromarray(np.stack(np.broadcast_arrays(line, line[:, None], 128), -1).astype(np.uint8))


def photos(folder: Path) -> list[bytes]:
    """Return a picture in the formats that are read, some of which say how it was taken."""
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010F], exif[0x9286] = 6, "a camera", b"ASCII\0\0\0a comment"
    exif.get_ifd(0x8825)[1] = "N"  # where it was taken
    found = []
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"):
        for options in ({}, {"exif": exif, "icc_profile": bytes(200)}):
            file = io.BytesIO()
            try:
                picture().save(file, kind, **options)
            except (OSError, KeyError):  # this Pillow is built without it
                continue
            found.append(file.getvalue())
    heic = write_heic(folder / "seed.heic", np.asarray(picture()).copy(), tile_px=32, turns=1)
    return [*found, heic.read_bytes()]


def films(folder: Path) -> list[bytes]:
    """Return a short film in some containers."""
    pictures = [np.roll(np.asarray(picture()), step, 1).copy() for step in range(6)]
    found = []
    for suffix, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx"), (".avi", "mpeg4")):
        path = write_film(folder / f"seed{suffix}", pictures, codec=codec)
        found.append(path.read_bytes())
        path.unlink()
    return found


def read_film(path: Path) -> None:
    """Read a film's first pictures."""
    reader = open_clip(str(path), 25)
    try:
        for _ in range(MAX_PICTURES):
            if reader.read() is None:
                break
    finally:
        reader.close()


def read_settings(path: Path) -> None:
    """Read a file as the user's settings, and write them again."""
    settings.path().parent.mkdir(parents=True, exist_ok=True)
    settings.path().write_bytes(path.read_bytes())
    settings.KeptSettings(()).applied(app.config_of({"avatar": ["a.png"]}))
    settings.save({"zoom": 1.5})


def manifests(folder: Path) -> list[bytes]:
    """Return the shipped model's manifest as it is, and as that of a model whose files are all empty."""
    original = (SHIPPED / "live-512" / "manifest.json").read_bytes()
    values = json.loads(original)
    empty = hashlib.sha256(b"").hexdigest()
    return [original, *[json.dumps(values | {"files": dict.fromkeys(values["files"], empty)}).encode()] * 3]


def read_manifest(path: Path) -> None:
    """Open a bundle with a file as its manifest, whose other files are empty, and describe it."""
    folder = path.parent / "bundle"
    if not folder.exists():
        folder.mkdir()
        for name in json.loads((SHIPPED / "live-512" / "manifest.json").read_bytes())["files"]:
            (folder / name).touch()
    (folder / "manifest.json").write_bytes(path.read_bytes())
    bundle = open_bundle(folder)
    if not isinstance(bundle.is_for_one_face, bool) or not describe(bundle):
        raise AssertionError("a bundle that cannot be described")


def read_request(path: Path) -> None:
    """Ask what a page may ask."""
    try:
        request = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # the server's own answer to it
        return
    control = PageControl()
    for value in (request, *(request.values() if isinstance(request, dict) else ())):
        wanted_values(value)
        named_press(value)
        key_press(value)
        control.ask({"set": value})


def graphs(folder: Path) -> list[bytes]:
    """Return the smallest graphs of the shipped model."""
    paths = sorted((SHIPPED / "live-512").glob("*.onnx"), key=lambda path: path.stat().st_size)
    return [path.read_bytes() for path in paths[:2]]


def plans(folder: Path) -> list[bytes]:
    """Return what describes an engine that TensorRT built."""
    names = ("graph", "precision", "model", "library", "version", "capability", "gpu")
    key = dict.fromkeys(names, "a") | {"recipe": 1}
    values = {"key": key, "bundle": "a", "tensors": {"a": "b"}, "sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    return [json.dumps(values).encode()]


def read_plan(path: Path) -> None:
    """Look for an engine in a folder of TensorRT's, where a file describes one."""
    folder = path.parent / "plans"
    folder.mkdir(exist_ok=True)
    (folder / "it.engine").touch()
    (folder / "it.json").write_bytes(path.read_bytes())
    cache = PlanCache(folder)
    for entry in cache.entries():
        cache.find(entry.key)


def two_photos(folder: Path) -> Path:
    """Return a folder of two photos, which is made if it is not there."""
    place = folder / "photos"
    if not place.exists():
        place.mkdir()
        for number in (1, 2):
            picture().save(place / f"ann_{number}.png")
    return place


def indexes(folder: Path) -> list[bytes]:
    """Return a cache's index."""
    build_cache(two_photos(folder), folder / "caches", SIDE, 1, subject="body")
    return [(first_cache(folder) / "index.json").read_bytes()]


def first_cache(folder: Path) -> Path:
    """Return the cache of the two photos; where its index says that it is of others, there is a second one."""
    return min((folder / "caches").iterdir(), key=lambda place: len(place.name))


def read_index(path: Path) -> None:
    """Open a cache with a file as its index, and look at every clip."""
    place = first_cache(path.parent)
    (place / "index.json").write_bytes(path.read_bytes())
    with contextlib.suppress(AvatarifyError):
        take_stock(place)
    cache = open_cache(place)
    for clip in cache.clips:
        if not isinstance(clip, Clip) or len(cache.frames[clip.start : clip.start + clip.count]) != clip.count:
            raise AssertionError("a clip that is not there")
    wanted = json.loads(path.read_bytes())["wanted"]
    sound_index(place, [wanted])
    build_cache(two_photos(path.parent), path.parent / "caches", SIDE, 1, subject="body")


def unfinished(folder: Path) -> list[bytes]:
    """Return an unfinished cache's plan, and in the next lines what is done of it."""
    (index,) = map(json.loads, indexes(folder))
    plan = {"wanted": index["wanted"], "folder": index["folder"], "counts": [1, 1], "problems": {"1": "none"}}
    done = [{"index": 0, "count": 1, "problem": None}, {"index": 1, "count": 1, "problem": "it breaks off"}]
    return ["\n".join(map(json.dumps, (plan, *done))).encode(), "\n".join(map(json.dumps, (plan, done[0]))).encode()]


def read_unfinished(path: Path) -> None:
    """Go on with a cache whose plan is a file's first line."""
    place = first_cache(path.parent)
    plan, _, done = path.read_bytes().partition(b"\n")
    (place / "index.json").unlink(missing_ok=True)
    (place / "plan.json").write_bytes(plan)
    (place / "done.jsonl").write_bytes(done)
    cache = build_cache(two_photos(path.parent), path.parent / "caches", SIDE, 1, subject="body")
    if any(clip.start + clip.count > len(cache.frames) for clip in cache.clips):
        raise AssertionError("a clip that is not there")


def archives(folder: Path) -> list[bytes]:
    """Return a part of an archive of data."""
    cache = folder / "archived"
    build_cache(two_photos(folder), cache, SIDE, 1)
    return [part.read_bytes() for part in write_archive(two_photos(folder), cache, folder / "pack", 1 << 20, SIDE, 1)]


def read_archive(path: Path) -> None:
    """Unpack an archive of one part."""
    (folder := path.parent / "parts").mkdir(exist_ok=True)
    (folder / "part-000-of-001.zip").write_bytes(path.read_bytes())
    out = path.parent / "unpacked"
    (out / "index.json").unlink(missing_ok=True)
    open_cache(unpack(folder, out, SIDE, 1))


@functools.cache
def known_clips(folder: Path) -> tuple[FoundClip, ...]:
    """Return the clips that pairs lists may name."""
    return tuple(find_clips(two_photos(folder)))


PAIRS = (
    b"source,driving,best_frame\nann_1.png,ann_2.png,0\nphotos/ann_2,ann_1.png,3\n",
    "sep=;\nsource;driving;frame\nann_1;ann_2;\n".encode("utf-16"),
    b"id\tsource\tdriving\n0\tann_1\t..\\photos\\ann_2.png\n",
)

FOMM_CONFIG = b"""# a config
dataset_params:
  root_dir: data/vox-png
  frame_shape: [256, 256, 3]
  augmentation_params:
    flip_param: {horizontal_flip: True}
model_params:
  common_params:
    num_kp: 10
    estimate_jacobian: True
  kp_detector_params:
     temperature: 0.1
     block_expansion: 32
     scale_factor: 0.25
     pad: 0
  generator_params:
    block_expansion: 64
    dense_motion_params:
      num_blocks: 5
      scale_factor: 0.25
      kp_variance: 0.01
train_params:
  epoch_milestones: [60, 90]
  lr_generator: 2.0e-4
"""


def notes(folder: Path) -> list[bytes]:
    """Return what is noted of a video that clips were made of."""
    job = footage_job(folder)
    prepare._note(job).parent.mkdir(exist_ok=True)
    clip = prepare.MadeClip("a_1.mp4", 50, 2.0, (0, 0, 64))
    prepare._write_note(job, prepare.Outcome("a.mp4", 2.0, [clip], {"too short": 1}, None))
    return [prepare._note(job).read_bytes()]


def footage_job(folder: Path) -> prepare.FootageJob:
    """Return a video that clips are made of."""
    (folder / "footage.mp4").touch()
    os.utime(folder / "footage.mp4", ns=(0, 0))
    return prepare.FootageJob(folder / "footage.mp4", "a", folder, prepare.ClipRules())


def read_note(path: Path) -> None:
    """Read what is noted of a video."""
    job = footage_job(path.parent)
    prepare._note(job).write_bytes(path.read_bytes())
    found = prepare._read_note(job)
    if found is not None and not all(isinstance(clip.frames, int) for clip in found.clips):
        raise AssertionError("a clip without a length")


def command(*words: str) -> bytes:
    """Return a command line as a file: a word a line."""
    return "\n".join(words).encode()


COMMANDS = [
    command("avatarify_plus.app", "--avatar", "a.png", "--size", "1280x720", "--zoom", "1.5", "--camera-fps", "auto"),
    command("avatarify_plus.app", "--avatar", "a.png", "b", "--output", "c.mp4", "--face", "2", "--seconds", "3.5"),
    command("avatarify_plus.app", "--avatar", "a.png", "--movement-scale", "0.5", "--region", "eyes", "--no-badge"),
    command("avatarify_plus.service.serve", "--port", "80", "--callers", "3", "--size", "640x480", "--avatar", "a"),
    command("avatarify_plus.studio.studio", "--port", "80", "--avatar", "a.png", "--size", "640x480"),
    command("avatarify_plus.bench.bench", "--rate", "30000/1001", "--seconds", "1", "--threads", "2"),
    command("avatarify_plus.bench.callers", "--fps", "10", "--plan", "100", "--turn-ms", "20"),
    command("avatarify_plus.adapt.command", "ann", "a.mp4", "--minutes", "5"),
    command("avatarify_plus.doctor.doctor", "--json", "-"),
    command("training.prepare", "videos", "out", "--min-seconds", "2"),
]


def read_command(path: Path) -> None:
    """Parse a command line, whose first line names the program."""
    program, *words = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    known = {seed.partition(b"\n")[0].decode() for seed in COMMANDS}
    module = importlib.import_module(program if program in known else "avatarify_plus.app")
    with one_usage_error():
        parser = module.build_parser()
        options = parser.parse_args(words)
        if module is app:
            given = vars(options)
            given.pop("list_faces", None)
            try:
                app.config_of(given)
            except ConfigError as error:
                parser.error(str(error))


ADDRESSES = [
    b"https://gpu.example.org:8470/avatars",
    b"http://user:secret@[::1]:80/cgi?user=me&pwd=secret&size=2#t=1",
    b"rtsp://host/live.mp4",
]


def read_address(path: Path) -> None:
    """Take an address as that of a server and of a stream."""
    address = path.read_bytes().decode("utf-8", "surrogateescape")
    by_proxy(address)
    shown(address)
    _is_film(address)
    socket_address(address)


@contextlib.contextmanager
def one_usage_error() -> Iterator[None]:
    """Let a program end as for wrong usage, in one line, or as for --help. Raises AssertionError for another end."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    except SystemExit as end:
        err.flush()
        said = err.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
        if end.code not in (0, 2) or (end.code == 2 and not (said.endswith("\n") and len(said.splitlines()) == 1)):
            raise AssertionError(f"exit code {end.code}, said {said[:300]!a}") from end


def changed_first_line(data: bytes, chance: random.Random) -> bytes:
    """Return lines of JSON, of which the first or another is changed as JSON."""
    lines = data.split(b"\n")
    at = chance.choice((0, chance.randrange(len(lines))))
    lines[at] = changed_json(lines[at], chance)
    return b"\n".join(lines)


TARGETS: Mapping[str, Target] = {
    "photo": Target(photos, ".img", lambda path: photo_of(path.read_bytes(), "it"), changed_png),
    "film": Target(films, ".mp4", read_film),
    "settings": Target(
        lambda folder: [b'{"zoom": 2.0, "mirror_output": true, "smoothing": 0.5}', b'{"zoom": "two"}'],
        ".json",
        read_settings,
        changed_json,
    ),
    "manifest": Target(manifests, ".json", read_manifest, changed_json),
    "graph": Target(graphs, ".onnx", read_graph, changed_message),
    "request": Target(
        lambda folder: [
            b'{"set": {"mouth": 1.5, "region": "eyes", "lock_gaze": true}}',
            b'{"key": "p"}',
            b'{"press": "panic"}',
        ],
        ".json",
        read_request,
        changed_json,
    ),
    "options": Target(lambda folder: COMMANDS, ".txt", read_command, changed_lines),
    "address": Target(lambda folder: ADDRESSES, ".txt", read_address, changed_lines),
    "plan": Target(plans, ".json", read_plan, changed_json),
    "index": Target(indexes, ".json", read_index, changed_json),
    "unfinished": Target(unfinished, ".jsonl", read_unfinished, changed_first_line),
    "archive": Target(archives, ".zip", read_archive, changed_zip),
    "pairs": Target(
        lambda folder: list(PAIRS), ".csv", lambda path: read_pairs(path, known_clips(path.parent)), changed_lines
    ),
    "fomm-config": Target(lambda folder: [FOMM_CONFIG], ".yaml", read_config, changed_lines),
    "note": Target(notes, ".json", read_note, changed_json),
}
