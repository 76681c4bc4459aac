"""What is animated when a model is measured: trials, described by their files and decoded one picture at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from avatarify_plus.config import MotionMode
from avatarify_plus.errors import DataError
from avatarify_plus.pictures.images import centred_square, crop
from avatarify_plus.pictures.photo_region import photo_side
from avatarify_plus.types import Image
from training.data.datasets import (
    FoundClip,
    clip_identity,
    clip_name,
    find_clips,
    is_still,
    read_pairs,
    stream_pictures,
)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Trial:
    """One animation: the first picture of `source` follows `driving`, and should look like `truth` frame by frame.

    truth: None where it is unknown what the animation should look like. initial: the number of the driving picture that
    relative motion is measured from.
    """

    name: str
    source: Path
    driving: Path
    truth: Path | None
    motion: MotionMode
    initial: int = 0

    def source_picture(self, size: int, max_px: int | None = None) -> Image:
        """Return the source, see `decode_squares`. Raises DataError if it cannot be read."""
        return next(decode_squares(self.source, size, max_px))

    def source_square(self, least_px: int, most_px: int) -> Image:
        """Return the source in its own size (P, P, 3), within bounds. Raises DataError if it cannot be read."""
        picture = next(stream_pictures(self.source))
        square = centred_square(picture)
        return crop(picture, square, photo_side(square.width, least_px, most_px))

    def initial_picture(self, size: int) -> Image:
        """Return the driving picture that motion is measured from, (size, size, 3). Raises DataError without one."""
        picture = next(itertools.islice(decode_squares(self.driving, size), self.initial, None), None)
        if picture is None:
            raise DataError(f"{self.driving} has no frame {self.initial} to measure motion from")
        return picture

    def frames(self, size: int, max_px: int | None = None) -> Iterator[tuple[Image, Image | None]]:
        """Yield driving pictures with the truth, see `decode_squares`.

        Raises DataError if a clip cannot be read to its end, or if the two differ in length.
        """
        if self.truth is None or self.truth == self.driving:
            for image in decode_squares(self.driving, size, max_px):
                yield image, None if self.truth is None else image
            return
        both = decode_squares(self.driving, size, max_px), decode_squares(self.truth, size, max_px)
        for driving, truth in itertools.zip_longest(*both):
            if driving is None or truth is None:
                raise DataError(f"{self.driving} and {self.truth} show the same motion but differ in length")
            yield driving, truth


def self_reenactments(folder: Path) -> list[Trial]:
    """Return one trial per clip below a folder, with absolute motion: the clip's first frame follows the clip.

    Raises DataError if there is no clip.
    """
    clips = _moving(find_clips(folder, "test"), folder)
    return [Trial(_name(clip, folder), clip.path, clip.path, clip.path, "absolute") for clip in clips]


def puppet_pairs(folder: Path) -> list[Trial]:
    """Return one trial per ordered pair of characters that perform the same motion, with relative motion.

    Raises DataError for fewer than two characters.
    """
    clips = _moving(find_clips(folder, "test"), folder)
    if len(clips) < 2:
        raise DataError(f"{folder} must hold at least two clips of the same length that show the same motion")
    return [
        Trial(f"{_name(source, folder)} < {_name(driver, folder)}", source.path, driver.path, source.path, "relative")
        for source, driver in itertools.permutations(clips, 2)
    ]


def animations(
    photos: Path,
    drivers: Path,
    photo_count: int | None = None,
    driver_count: int | None = None,
    pairs: int | Path | None = None,
) -> list[Trial]:
    """Return one trial per photo and driver, with relative motion and no truth.

    photos, drivers: folders, or one file each; a clip's first frame serves as a photo. photo_count, driver_count: how
    many of each to take, evenly spread. pairs: how many of the pairs to take, seeded; or a list for `read_pairs`.
    Raises DataError if nothing is left.
    """
    sources = spread(_clips(photos), photo_count)
    driving_clips = spread(_moving(_clips(drivers), drivers), driver_count)
    if isinstance(pairs, Path):
        chosen = [
            (pair.source, pair.driving, pair.best_frame) for pair in read_pairs(pairs, [*sources, *driving_clips])
        ]
    else:
        chosen = [(s, d, 0) for s, d in itertools.product(sources, driving_clips) if s.path != d.path]
    if isinstance(pairs, int):
        order = np.random.default_rng(0).permutation(len(chosen))[:pairs]
        chosen = [chosen[index] for index in sorted(order)]
    if not chosen:
        raise DataError(f"{photos} and {drivers} yield no pair of a photo and another file that drives it")
    return [
        Trial(f"{_name(s, photos)} < {_name(d, drivers)}", s.path, d.path, None, "relative", initial)
        for s, d, initial in chosen
    ]


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """Return `count` of the items, evenly spread from the first to the last; all for None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]


def decode_squares(path: Path, size: int, max_px: int | None = None) -> Iterator[Image]:
    """Decode a clip picture by picture, each cut to its centred square and resized to (size, size, 3).

    max_px: squares larger than `size` keep their own size up to this one. Raises DataError where it cannot be read.
    """
    for picture in stream_pictures(path):
        square = centred_square(picture)
        yield crop(picture, square, max(size, min(int(square.width), max_px or size)))


def _clips(place: Path) -> list[FoundClip]:
    """Return the clips below a folder, or the one file."""
    if place.is_file():
        return [FoundClip(place, clip_name(place), clip_identity(clip_name(place)))]
    return find_clips(place, "test")


def _moving(clips: list[FoundClip], place: Path) -> list[FoundClip]:
    """Leave out stills. Raises DataError if nothing is left."""
    moving = [clip for clip in clips if clip.path.is_dir() or not is_still(clip.path)]
    if not moving:
        raise DataError(f"no videos found in {place}")
    return moving


def _name(clip: FoundClip, place: Path) -> str:
    """Return a clip's path below a folder, without its suffix: its own name may occur twice."""
    if not clip.path.is_relative_to(place) or clip.path == place:
        return clip.name
    return (clip.path.relative_to(place).parent / clip.name).as_posix()
