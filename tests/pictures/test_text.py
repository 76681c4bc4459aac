"""Text in pictures: whatever a file may be called is written, shortened or wrapped into its room."""

from __future__ import annotations

import numpy as np
import pytest

from avatarify_plus.pictures.text import ELLIPSIS, TextWriter

NAMES = ["avatar_2", "Jürgen Ünlü", "Ольга", "漢字", "😀", "a\nb\tc", "\udcff", "", " ", "\u202eabc", "\0", "x" * 3000]


@pytest.fixture(scope="module")
def writer() -> TextWriter:
    return TextWriter(16)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_written_and_fits(name: str, writer: TextWriter) -> None:
    short = writer.shortened(name, 100)
    mask = writer.mask(short)
    assert mask.shape[0] == writer.line_px
    assert 1 <= mask.shape[1] <= 100
    assert bool(mask.any()) == bool(short.strip())


def test_what_is_shortened_says_so_and_the_rest_is_untouched(writer: TextWriter) -> None:
    assert writer.shortened("short", 100) == "short"
    short = writer.shortened("a name that is too long for its room", 100)
    assert short.endswith(ELLIPSIS)
    assert "a name that is too long for its room".startswith(short.removesuffix(ELLIPSIS))


def test_lines_break_between_words_and_keep_them_all(writer: TextWriter) -> None:
    text = "webcam 0 (Integrated Camera) was unplugged; looking for it every second"
    lines = writer.wrapped(text, 200, 5)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert all(writer.width_px(line) <= 200 for line in lines)
    first, second = writer.wrapped(text, 200, 2)
    assert first == lines[0]
    assert second.endswith(ELLIPSIS)


def test_writing_stays_inside_and_takes_the_colour(writer: TextWriter) -> None:
    image = np.full((30, 40, 3), 10, np.uint8)
    end = writer.write(image, "MMMMMMMM", 5, 4, (250, 100, 50))
    assert end > 40
    assert (image[:, :5] == 10).all()
    assert image.reshape(-1, 3).max(0).tolist() == [250, 100, 50]
    writer.write(image, "below", 0, 60, (255, 255, 255))


def test_a_descender_is_not_cut_off(writer: TextWriter) -> None:
    mask = writer.mask("gjpqy(Ü")
    assert not mask[0].any()
    assert not mask[-1].any()
