"""A photo with its faces numbered, so that one can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatarify_plus.errors import ConfigError, SourceError
from avatarify_plus.face.photo_framing import face_scorer, faces_finder, find_faces, upright
from avatarify_plus.pictures.decoding import write_png
from avatarify_plus.pictures.images import at_most, load_photo
from avatarify_plus.pictures.text import TextWriter
from avatarify_plus.program.command_line import require_writable
from avatarify_plus.session.avatars import photos_in
from avatarify_plus.types import FloatArray, Image

SHOWN_PX = 1920
"""The numbered picture's longer side has at most so many pixels."""

LETTERS = 30
"""So many lines of numbers would fit into the shorter side of the picture, unless they became smaller than this:"""

MIN_LETTER_PX = 14

BOX_COLOUR, NUMBER_COLOUR = (255, 210, 0), (0, 0, 0)


def list_faces(given: Sequence[Path], out: Path) -> str:
    """Write the one photo that is given as PNG with its faces numbered; return what to say about it.

    Raises ConfigError unless there is one photo and `out` another file that ends in .png, SourceError if the photo
    cannot be used or shows no face, SinkError if the picture cannot be written.
    """
    photos = photos_in(given)
    if len(photos) != 1:
        raise ConfigError(f"--list-faces numbers the faces of one photo, found {len(photos)}: give one --avatar")
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--list-faces must be a file name ending in .png, found {str(out)!r}")
    path = photos[0]
    if out.exists() and path.exists() and out.samefile(path):
        raise ConfigError(f"--list-faces {out} is the photo itself: choose another name")
    photo = load_photo(path)
    require_writable(out, "--list-faces")
    name = f"the photo {path}"
    with faces_finder(True) as find, face_scorer(True) as score:
        assert find is not None
        photo = upright(photo, find, score, name)
        faces = find_faces(photo, find)
    if not faces:
        raise SourceError(f"no face found in {name}: use another photo, or a larger one")
    write_png(out, numbered(photo, faces))
    if len(faces) == 1:
        return f"{name} shows one face; wrote {out}"
    return f"{name} shows {len(faces)} faces, 1 is the largest: choose one by --face NUMBER; wrote {out}"


def numbered(photo: Image, faces: Sequence[FloatArray]) -> Image:
    """Return a photo (H, W, 3), shrunk to SHOWN_PX, with a box and a number for each face, landmarks in its pixels."""
    picture = at_most(photo, SHOWN_PX).copy()
    height, width = picture.shape[:2]
    scale = max(width, height) / max(photo.shape[:2])
    writer = TextWriter(max(min(height, width) // LETTERS, MIN_LETTER_PX))
    line = max(writer.line_px // 10, 1)
    labels: list[tuple[str, int, int]] = []
    for number, face in enumerate(faces, 1):
        low, high = (scale * face[:, :2].min(0)).round().astype(int), (scale * face[:, :2].max(0)).round().astype(int)
        left, right = (int(min(max(x, 0), width - 1)) for x in (low[0], high[0]))
        top, bottom = (int(min(max(y, 0), height - 1)) for y in (low[1], high[1]))
        for rows, columns in (
            (slice(top, top + line), slice(left, right)),
            (slice(max(bottom - line, 0), bottom), slice(left, right)),
            (slice(top, bottom), slice(left, left + line)),
            (slice(top, bottom), slice(max(right - line, 0), right)),
        ):
            picture[rows, columns] = BOX_COLOUR
        labels.append((str(number), left, top))
    for text, left, top in labels:  # above all boxes
        label_width = writer.width_px(text) + 2 * line
        left, top = max(min(left, width - label_width), 0), max(top - writer.line_px, 0)
        picture[top : top + writer.line_px, left : left + label_width] = BOX_COLOUR
        writer.write(picture, text, left + line, top, NUMBER_COLOUR)
    return picture
