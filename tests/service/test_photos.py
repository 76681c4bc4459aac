"""Photos that callers bring: harmless names, harmless sizes, a limited number, and nothing on disk."""

from __future__ import annotations

import base64
import builtins
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from avatarify_plus.errors import SourceError
from avatarify_plus.service.photos import MAX_COUNT, MAX_PX, PhotoChoice, decoded, offered
from avatarify_plus.types import Image
from avatarify_plus.web.offered_photo import THUMBNAIL_PX
from fakes import EXAMPLES, plain_picture

EXAMPLE = EXAMPLES / "avatar_1.jpg"


def png_of(image: Image) -> bytes:
    return bytes(cv2.imencode(".png", image[..., ::-1])[1])


SMALL = png_of(plain_picture(120, 160, 160))


@pytest.mark.parametrize(
    ("given", "file", "name"),
    [
        ("me.png", "0007-me.png", "me"),
        ("../../etc/passwd", "0007-passwd", "passwd"),
        ("/root/.ssh/id.png", "0007-id.png", "id"),
        ("C:\\Users\\me\\face one.jpg", "0007-face_one.jpg", "face_one"),
        ("..", "0007-photo", "photo"),
        ("", "0007-photo", "photo"),
        ("a/..", "0007-photo", "photo"),
        (".hidden.png", "0007-hidden.png", "hidden"),
        ("nul\0\n\x1b[31m.png", "0007-nul_31m.png", "nul_31m"),
        ("<img src=x>.png", "0007-img_src_x_.png", "img_src_x_"),
        ("mäx.png", "0007-mäx.png", "mäx"),
        ("\ud800.png", "0007-png", "png"),
        ("x" * 500 + ".png", "0007-" + "x" * 76 + ".png", "x" * 76),
    ],
)
def test_a_name_is_a_plain_word_whatever_was_given(given: str, file: str, name: str) -> None:
    photo = decoded(given, SMALL, 7)
    assert (photo.path.name, photo.name) == (file, name)
    assert photo.path.parent == Path("/memory")
    assert not photo.path.exists()
    assert photo.is_own


def test_pages_get_the_name_and_a_thumbnail_and_no_path() -> None:
    photo = decoded("me.png", SMALL, 1)
    shown = photo.for_pages
    assert set(shown) == {"file", "name", "thumbnail"}
    assert (shown["file"], shown["name"]) == ("0001-me.png", "me")
    start, data = shown["thumbnail"].split(",")
    assert start == "data:image/jpeg;base64"
    small = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert small.shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
    assert small.mean() == pytest.approx(120, abs=2)


@pytest.mark.parametrize(("height", "width"), [(MAX_PX + 952, 300), (300, MAX_PX + 952)])
def test_a_large_photo_is_shrunk(height: int, width: int) -> None:
    image = decoded("large.png", png_of(plain_picture(90, height, width)), 1).image
    assert max(image.shape) == MAX_PX
    assert min(image.shape[:2]) == pytest.approx(300 * MAX_PX / (MAX_PX + 952), abs=1)
    assert image.nbytes == image.size and image.base is None, "no larger picture is kept behind it"


def test_a_photo_of_usual_size_stays_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    assert np.array_equal(decoded("a.png", png_of(picture), 1).image, picture)


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a nothing", b"\xff\xd8\xff\xe0" + bytes(1000), SMALL[:60], b"<svg></svg>", bytes(100_000)],
    ids=["nothing", "gif", "jpeg", "cut", "svg", "zeros"],
)
def test_what_is_no_photo_is_refused_by_its_plain_name(content: bytes) -> None:
    with pytest.raises(SourceError) as refused:
        decoded("../x/fun.png", content, 1)
    assert "cannot use fun.png: " in str(refused.value)
    assert "\n" not in str(refused.value) and "memory" not in str(refused.value)


def test_a_photo_that_is_too_small_is_refused() -> None:
    with pytest.raises(SourceError, match=r"dot\.png is too small: 8x8 pixels"):
        decoded("dot.png", png_of(plain_picture(90, 8, 8)), 1)


def test_nothing_is_written_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def noted(original: Any) -> Any:
        def opener(path: Any, *others: Any, **named: Any) -> Any:
            opened.append(path)
            return original(path, *others, **named)

        return opener

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = EXAMPLE.read_bytes()
    decoded("first.jpg", content, 1)  # what is imported on the way is read from disk
    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", noted(vars(module)["open"]))
    photo = decoded("../me.jpg", content, 2)
    with pytest.raises(SourceError):
        decoded("garbage.jpg", content[:500], 3)
    monkeypatch.undo()
    assert set(opened) <= {os.devnull}  # where the decoders' complaints go
    assert not list(tmp_path.iterdir())
    assert not photo.path.exists()


def test_so_many_photos_may_be_brought_and_one_more_once_one_is_gone() -> None:
    choice = PhotoChoice(offered([EXAMPLE]))
    for index in range(MAX_COUNT):
        number = choice.next_number
        assert number == index + 1
        choice.photos.append(decoded("me.png", SMALL, number))
    with pytest.raises(SourceError, match=f"{MAX_COUNT} photos of yours are here already: take one away first"):
        choice.next_number  # noqa: B018 - it raises
    del choice.photos[3]
    number = choice.next_number
    assert number == MAX_COUNT + 1, "no two photos of a call have one name"
    with pytest.raises(SourceError, match="was taken away"):
        choice.image(decoded("me.png", SMALL, 3).path)


def test_photos_are_found_by_their_names_alone() -> None:
    choice = PhotoChoice(offered([EXAMPLE]))
    own = decoded("me.png", SMALL, 1)
    choice.photos.append(own)
    assert choice.find("0001-me.png") is own
    assert choice.image(own.path) is own.image
    offered_photo = choice.find("avatar_1.jpg")
    assert offered_photo is not None and not offered_photo.is_own
    unknown: object
    for unknown in (None, 5, "", [], {}, "/memory/0001-me.png", str(EXAMPLE), "../avatar_1.jpg"):
        assert choice.find(unknown) is None


def test_what_one_caller_brings_another_does_not_see() -> None:
    photos = offered([EXAMPLE])
    first, second = PhotoChoice(photos), PhotoChoice(photos)
    first.photos.append(decoded("me.png", SMALL, first.next_number))
    assert [len(choice.photos) for choice in (first, second)] == [2, 1]
    assert second.find("0001-me.png") is None
    assert len(photos) == 1


def test_the_services_own_photos_must_be_there() -> None:
    with pytest.raises(SourceError, match=r"cannot read the photo .*nobody\.jpg"):
        offered([EXAMPLES / "nobody.jpg"])
