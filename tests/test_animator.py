"""The interface for other programs: the five lines of the README, from another folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Picture

import avatarify_plus
from avatarify_plus.animator import Animator, load_animator
from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import EngineError, ModelError, SourceError
from avatarify_plus.pictures.images import load_photo, resize
from fakes import EXAMPLES, FakeEngine, example_driver, plain_picture

ROOT = Path(__file__).resolve().parents[1]
PHOTO = EXAMPLES / "avatar_2.jpg"


@pytest.fixture(scope="module")
def animator() -> Iterator[Animator]:
    with load_animator("live-512", smoothing=0) as animator:
        yield animator


def test_the_lines_of_the_readme_work_from_another_folder(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "face.jpg"), cv2.imread(str(PHOTO)))
    cv2.imwrite(str(tmp_path / "frame.png"), cv2.cvtColor(next(iter(example_driver(1))), cv2.COLOR_RGB2BGR))
    code = "\n".join([
        "import cv2, avatarify_plus",
        "frame = cv2.cvtColor(cv2.imread('frame.png'), cv2.COLOR_BGR2RGB)",
        "animator = avatarify_plus.load_animator('live-512')",
        "animator.set_avatar('face.jpg')",
        "picture = animator.animate(frame)",
        "print(picture.shape, picture.dtype)",
        "animator.close()",
    ])  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(512, 512, 3) uint8\n", "")


def test_importing_the_package_is_cheap_and_the_names_are_there() -> None:
    code = "import sys, avatarify_plus; print('numpy' in sys.modules); print(avatarify_plus.load_animator.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\nload_animator\n"
    assert avatarify_plus.Animator is Animator
    with pytest.raises(AttributeError, match="no attribute 'Juggler'"):
        avatarify_plus.Juggler  # noqa: B018


def test_the_avatar_follows_the_driver_and_rests_at_the_first_frame(animator: Animator) -> None:
    """The first frame is where relative motion starts from: the photo itself; later ones move it."""
    animator.set_avatar(PHOTO)
    frames = list(example_driver(20))
    pictures = [animator.animate(frame, index / 25) for index, frame in enumerate(frames)]
    assert all(picture.shape == (animator.size, animator.size, 3) for picture in pictures)
    differences = [float(np.abs(picture.astype(int) - pictures[0]).mean()) for picture in pictures]
    assert differences[0] == 0 and max(differences) > 1


def test_avatars_encoded_beforehand_are_switched_between_two_frames(animator: Animator) -> None:
    first, second = animator.encode_avatar(PHOTO), animator.encode_avatar(str(EXAMPLES / "avatar_1.jpg"))
    frame = next(iter(example_driver(1)))
    shown = []
    for index, avatar in enumerate((first, second, first)):
        animator.set_avatar(avatar)
        shown.append(animator.animate(frame, 100 + index / 25).astype(int))
    assert np.abs(shown[0] - shown[1]).mean() > 10
    assert np.abs(shown[0] - shown[2]).mean() < 2


def test_a_picture_is_the_callers_to_draw_on() -> None:
    nobody = np.zeros((64, 64, 3), np.uint8)
    with Animator(FakeEngine()) as animator:
        avatar = animator.encode_avatar(PHOTO)
        animator.set_avatar(avatar)
        first, still = animator.animate(nobody, 0.0), avatar.still.copy()
        first[:] = 255
        np.testing.assert_array_equal(animator.animate(nobody, 0.04), still)
        np.testing.assert_array_equal(avatar.still, still)


def test_read_only_views_will_do(animator: Animator) -> None:
    image = cv2.imread(str(PHOTO))
    image.flags.writeable = False
    animator.set_avatar(image[..., ::-1])
    assert animator.animate(image[::2, ::2, ::-1], 300.0).shape == (animator.size, animator.size, 3)


def test_a_photo_may_be_a_picture_in_memory(animator: Animator) -> None:
    image = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    of_file, of_memory = animator.encode_avatar(PHOTO), animator.encode_avatar(image)
    assert np.abs(of_file.still.astype(int) - of_memory.still).mean() < 1


def test_mistakes_are_said_plainly(animator: Animator, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no face"):
        animator.set_avatar(np.zeros((300, 300, 3), np.uint8))
    with pytest.raises(SourceError, match=r"cannot read the photo .*missing\.jpg"):
        animator.set_avatar(tmp_path / "missing.jpg")
    animator.set_avatar(PHOTO)
    for wrong in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32), np.zeros((0, 64, 3), np.uint8)):
        with pytest.raises(SourceError, match=r"the frame must be \(H, W, 3\) uint8 RGB, found"):
            animator.animate(wrong)
    for other in ([[1, 2]], None, Picture.new("RGB", (64, 64))):
        with pytest.raises(SourceError, match="must be an array"):
            animator.animate(other)  # type: ignore[arg-type]
        with pytest.raises(SourceError, match="must be an array"):
            animator.set_avatar(other)  # type: ignore[arg-type]
    with pytest.raises(ModelError):
        load_animator("no-such-model")
    with pytest.raises(EngineError, match="unknown engine"):
        load_animator(engine="abacus")  # type: ignore[arg-type]


def test_an_avatar_comes_first_and_closing_twice_is_fine() -> None:
    engine = FakeEngine()
    animator = Animator(engine)
    with pytest.raises(SourceError, match="call set_avatar first"):
        animator.animate(np.zeros((64, 64, 3), np.uint8))
    animator.close()
    animator.close()
    assert engine.is_closed
    with pytest.raises(SourceError, match="was closed"):
        animator.set_avatar(PHOTO)
    with pytest.raises(SourceError, match="was closed"):
        animator.animate(np.zeros((64, 64, 3), np.uint8))


def test_a_model_that_shows_the_photo_in_its_own_size_says_which(photo_bundle: Bundle) -> None:
    frame = next(iter(example_driver(1)))
    with load_animator(str(photo_bundle.folder), photo_px=400) as animator:
        assert animator.size == 256
        animator.set_avatar(PHOTO)
        assert animator.size == 400
        assert animator.animate(frame).shape == (400, 400, 3)


def test_a_face_of_a_group_is_chosen_by_its_number(animator: Animator) -> None:
    group = plain_picture(150, 500, 900)
    for number, (left, side) in enumerate(((20, 300), (460, 420)), 1):
        group[40 : 40 + side, left : left + side] = resize(load_photo(EXAMPLES / f"avatar_{number}.jpg"), side)
    largest, second = (animator.encode_avatar(group, face=face).still for face in (1, 2))
    np.testing.assert_array_equal(animator.encode_avatar(group).still, largest)
    assert len(largest) > len(second), "as many pixels as its own square has"
    with pytest.raises(SourceError, match="shows 2 faces, and number 3 was asked for: choose from 1 to 2"):
        animator.encode_avatar(group, face=3)
