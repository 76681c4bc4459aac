"""Feed readers with mutated files, for as long as one likes: `python tests/fuzz/fuzz.py --seconds 3600 --seed 7`.

Each reader gets files of ours, changed by a seeded generator. It may take them or refuse them with an AvatarifyError;
anything else is a finding: its file is kept, and printed with the exception. A reader that dies or hangs ends this
process, and the file that it was given last is the one in --out called `now`.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import math
import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # run as a script

import numpy as np
from PIL import Image as Pillow

from avatarify_plus import settings
from avatarify_plus.bundle import SHIPPED, open_bundle
from avatarify_plus.camera import open_clip
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.network.onnx_file import read_graph
from avatarify_plus.pictures.images import photo_of
from avatarify_plus.web.page_control import PageControl
from avatarify_plus.web.session_page import key_press, named_press, wanted_values
from films import write_film
from heic_files import write_heic

MAX_PICTURES = 40
"""So many pictures of a film are read: a header may promise millions."""

HANG_S = 30.0
"""A reader that takes longer hangs: where it is is printed, and this process ends."""

WORDS = (
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"-1",
    b"1e999",
    b"null",
    b"[",
    b"{",
    b'"',
    b"\n",
    b"../",
)
"""What is put into files besides chance: limits of numbers, and what has a meaning in texts."""


class Target(NamedTuple):
    """A reader: what it is fed with, under which name its file goes, and the call that reads that file."""

    seeds: Callable[[], list[bytes]]
    suffix: str
    read: Callable[[Path], object]


def picture() -> Pillow.Image:
    """Return a small picture of many colours."""
    line = np.linspace(0, 255, 48, dtype=np.uint8)
    return Pillow.fromarray(np.stack(np.broadcast_arrays(line, line[:, None], 128), -1).astype(np.uint8))


def photos() -> list[bytes]:
    """Return a picture in the formats that are read."""
    found = []
    for kind, options in (
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("GIF", {}),
        ("AVIF", {}),
    ):
        file = io.BytesIO()
        try:
            picture().save(file, kind, **options)
        except (OSError, KeyError):  # this Pillow is built without it
            continue
        found.append(file.getvalue())
    heic = write_heic(Path(FOLDER) / "seed.heic", np.asarray(picture()).copy(), tile_px=32, turns=1)
    return [*found, heic.read_bytes()]


def films() -> list[bytes]:
    """Return a short film in some containers."""
    pictures = [np.roll(np.asarray(picture()), step, 1).copy() for step in range(6)]
    found = []
    for suffix, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx"), (".avi", "mpeg4")):
        path = write_film(Path(FOLDER) / f"seed{suffix}", pictures, codec=codec)
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
    settings.load()
    settings.save({"zoom": 1.5})


def read_manifest(path: Path) -> None:
    """Open a bundle with a file as its manifest; its other files are missing."""
    folder = path.parent / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(path.read_bytes())
    open_bundle(folder)


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


def graphs() -> list[bytes]:
    """Return the smallest graphs of the shipped model."""
    paths = sorted((SHIPPED / "live-512").glob("*.onnx"), key=lambda path: path.stat().st_size)
    return [path.read_bytes() for path in paths[:2]]


TARGETS: Mapping[str, Target] = {
    "photo": Target(photos, ".img", lambda path: photo_of(path.read_bytes(), "it")),
    "film": Target(films, ".mp4", read_film),
    "settings": Target(
        lambda: [b'{"zoom": 2.0, "mirror_output": true, "smoothing": 0.5}', b'{"zoom": "two"}'], ".json", read_settings
    ),
    "manifest": Target(lambda: [(SHIPPED / "live-512" / "manifest.json").read_bytes()], ".json", read_manifest),
    "graph": Target(graphs, ".onnx", read_graph),
    "request": Target(
        lambda: [
            b'{"set": {"mouth": 1.5, "region": "eyes", "lock_gaze": true}}',
            b'{"key": "p"}',
            b'{"press": "panic"}',
        ],
        ".json",
        read_request,
    ),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return a file with some changes: bits turned, bytes replaced, parts cut, doubled, moved, words put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8, 32))):
        if not changed:
            break
        # Headers decide most, so half of the changes are there.
        end = len(changed) if chance.random() < 0.5 else min(len(changed), 256)
        at = chance.randrange(end)
        length = min(chance.choice((1, 2, 4, 16, 64)), len(changed) - at)
        kind = chance.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            word = chance.choice(WORDS)
            changed[at : at + len(word)] = word
        else:
            other = chance.randrange(len(changed))
            changed[at : at + length] = changed[other : other + length]
    return bytes(changed)


def fuzz(name: str, seconds: float, files: float, seed: int, out: Path) -> tuple[int, list[str]]:
    """Feed one reader for some time or with some files; return how many it got, and what was found, a line each."""
    target, chance = TARGETS[name], random.Random(f"{name} {seed}")
    seeds = target.seeds()
    count, findings = 0, list[str]()
    ends_s = time.monotonic() + seconds
    path = out / f"now{target.suffix}"
    while time.monotonic() < ends_s and count < files:
        path.write_bytes(mutated(chance.choice(seeds), chance))
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            target.read(path)
        except AvatarifyError as error:
            if "\n" in str(error):
                findings.append(f"{name}: more than one line: {error}")
        except Exception as error:  # what is looked for
            kept = out / f"{name}-{seed}-{count}{target.suffix}"
            kept.write_bytes(path.read_bytes())
            place = traceback.extract_tb(error.__traceback__)[-1]
            findings.append(f"{name}: {type(error).__name__} in {Path(place.filename).name}:{place.lineno}, see {kept}")
        finally:
            faulthandler.cancel_dump_traceback_later()
        count += 1
    return count, findings


FOLDER = "."
"""Where files lie while they are read; set by `main`."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 1 if something was found."""
    global FOLDER
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS), help="readers (default: all)")
    parser.add_argument("--seconds", type=float, default=60, help="for each reader (default: 60)")
    parser.add_argument("--files", type=float, default=math.inf, help="for each reader at most (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="what chance starts from (default: 0)")
    parser.add_argument("--out", type=Path, required=True, help="folder for files")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    FOLDER = str(options.out)
    is_clean = True
    for name in options.target:
        count, findings = fuzz(name, options.seconds, options.files, options.seed, options.out)
        print(f"{name}: {count} files, {len(findings)} findings", *findings[:20], sep="\n  ", flush=True)
        is_clean = is_clean and not findings
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
