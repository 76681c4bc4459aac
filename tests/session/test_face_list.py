"""A group's faces, numbered for who chooses one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from avatarify_plus.errors import AvatarifyError
from avatarify_plus.pictures.images import load_photo, read_picture, resize
from avatarify_plus.session.face_list import BOX_COLOUR, SHOWN_PX, list_faces, numbered
from fakes import EXAMPLES, oval_mesh, plain_picture


def save_group(path: Path) -> Path:
    group = plain_picture(150, 500, 900)
    for number, (left, side) in enumerate(((20, 300), (460, 420)), 1):
        group[40 : 40 + side, left : left + side] = resize(load_photo(EXAMPLES / f"avatar_{number}.jpg"), side)
    Pillow.fromarray(group).save(path)
    return path


def test_each_face_has_a_box_and_the_picture_says_how_many(tmp_path: Path) -> None:
    path, out = save_group(tmp_path / "group.png"), tmp_path / "numbered.png"
    said = list_faces([path], out)
    assert said == (f"the photo {path} shows 2 faces, 1 is the largest: choose one by --face NUMBER; wrote {out}")
    picture = read_picture(out)
    assert picture.shape == (500, 900, 3)
    boxes = (picture == BOX_COLOUR).all(axis=2)
    assert boxes[:, 60:300].sum() > 300 and boxes[:, 500:860].sum() > 300 and not boxes[:, 330:440].any()
    assert (picture != read_picture(path)).any(axis=2).mean() < 0.1, "the photo is still seen"


def test_one_face_is_said_to_be_one(tmp_path: Path) -> None:
    out = tmp_path / "numbered.png"
    assert "shows one face; wrote" in list_faces([EXAMPLES / "avatar_1.jpg"], out)
    assert out.exists()


@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (0.5, 1.2)])
def test_faces_at_the_edge_are_marked_inside(place: tuple[float, float]) -> None:
    photo = plain_picture(60, 1000, 4 * SHOWN_PX)
    face = oval_mesh((place[0] * photo.shape[1], place[1] * 1000), 400, 1, 1)
    picture = numbered(photo, [face])
    assert picture.shape == (250, SHOWN_PX, 3)
    assert (picture == BOX_COLOUR).all(axis=2).any()
    np.testing.assert_array_equal(photo, 60)


@pytest.mark.parametrize("wrong", ["two photos", "another suffix", "the photo itself", "no face", "nowhere", "missing"])
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(tmp_path: Path, wrong: str) -> None:
    group = save_group(tmp_path / "group.png")
    plain = tmp_path / "plain.png"
    Pillow.fromarray(plain_picture(150, 100, 100)).save(plain)
    before = group.read_bytes()
    given, out, message = {
        "two photos": ([group, plain], tmp_path / "out.png", "faces of one photo, found 2"),
        "another suffix": ([group], tmp_path / "out.jpg", r"file name ending in \.png"),
        "the photo itself": ([group], group, "is the photo itself"),
        "no face": ([plain], tmp_path / "out.png", "no face found in the photo"),
        "nowhere": ([group], tmp_path / "nowhere" / "out.png", "cannot write .*for --list-faces"),
        "missing": ([tmp_path / "missing.jpg"], tmp_path / "out.png", "cannot read the photo"),
    }[wrong]
    with pytest.raises(AvatarifyError, match=message) as caught:
        list_faces(given, out)
    assert "\n" not in str(caught.value)
    assert group.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["group.png", "plain.png"]
