"""What people see in mouth and eyes, sharpness and flicker is measured, and each measure knows its limits."""

import cv2
import numpy as np
import pytest

from avatarify_plus.types import FloatArray, Image
from fakes import plain_picture
from training.data.face_points import lip_gap_px, looks_aside
from training.evaluation.detail_scorer import BATCH, DetailScorer, flicker, gradient_energy
from training.evaluation.face_squares import face_squares
from training.evaluation.metrics import FaceDescription
from training.evaluation.perceptual_distance import PerceptualDistance
from training.evaluation.picture_fit import fit


@pytest.fixture(scope="module")
def perceptual() -> PerceptualDistance:
    return PerceptualDistance()


@pytest.fixture(scope="module")
def photo() -> Image:
    """Grain of several sizes, as skin and hair have it."""
    generator = np.random.default_rng(3)
    sizes = (8, 32, 128, 256)
    layers = [cv2.resize(generator.normal(0, 25, (side, side, 3)), (256, 256)) for side in sizes]
    return (128 + np.sum(layers, axis=0)).clip(0, 255).astype(np.uint8)


def described(mesh: FloatArray | None) -> FaceDescription:
    return FaceDescription(mesh, None, mesh)


def with_lips(face: FloatArray, gap_px: float) -> FloatArray:
    """Return the mesh with its inner lips gap_px apart, in px of 256."""
    opened = face.copy()
    opened[14] = opened[13] + np.array([0, gap_px / 256, 0], np.float32)
    return opened


def with_shut_eyes(face: FloatArray) -> FloatArray:
    shut = face.copy()
    for upper, lower in ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373)):
        shut[upper] = shut[lower]
    return shut


def blurred_at(image: Image, place: tuple[float, float], radius_px: int = 34) -> Image:
    """Return a picture that is blurred in a circle around a place in [0, 1]."""
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.circle(mask, (round(place[0] * image.shape[1]), round(place[1] * image.shape[0])), radius_px, 1, -1)
    return np.where(mask[..., None] > 0, cv2.GaussianBlur(image, (0, 0), 3), image).astype(np.uint8)


def test_the_truth_is_perfect(perceptual: PerceptualDistance, photo: Image, face: FloatArray) -> None:
    scorer = DetailScorer(perceptual, photo, face)
    for mesh in (with_lips(face, 10), face, with_shut_eyes(face)):
        scorer.add(photo, photo, described(mesh), described(mesh))
    found = scorer.detail_scores()
    assert found._replace(sharpness=1) == (0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    assert found.sharpness == pytest.approx(1)
    assert scorer.tables()[2] == found


def test_a_blurred_mouth_costs_in_its_square_alone(
    perceptual: PerceptualDistance, photo: Image, face: FloatArray
) -> None:
    squares = face_squares(face)
    mouth, eye = (DetailScorer(perceptual, photo, face) for _ in range(2))
    mouth.add(blurred_at(photo, squares.mouth.centre), photo, described(face), described(face))
    eye.add(blurred_at(photo, squares.eyes[0].centre, 10), photo, described(face), described(face))
    in_mouth, in_eye = mouth.detail_scores(), eye.detail_scores()
    assert in_mouth.mouth_perceptual > 0.1 and in_mouth.mouth_l1 > 0.01
    assert in_mouth.eye_perceptual == in_mouth.eye_l1 == 0
    assert in_eye.eye_perceptual > 0.05 and in_eye.eye_l1 > 0.005
    assert in_eye.mouth_perceptual == in_eye.mouth_l1 == 0


def test_blur_costs_more_than_brightness_to_the_perceptual_distance(
    perceptual: PerceptualDistance, photo: Image
) -> None:
    truth = photo[:96, :96][None]
    softer = cv2.GaussianBlur(truth[0], (0, 0), 2)[None]
    brighter = (truth.astype(np.int64) + np.abs(softer.astype(np.int64) - truth).mean()).clip(0, 255).astype(np.uint8)
    assert perceptual(truth, truth) == 0
    assert perceptual(softer, truth)[0] > 2 * perceptual(brighter, truth)[0] > 0
    both = perceptual(np.concatenate([softer, truth]), np.concatenate([truth, truth]))
    assert both == pytest.approx([perceptual(softer, truth)[0], 0], abs=1e-5)


def test_open_mouths_and_closed_eyes_are_looked_at_alone(
    perceptual: PerceptualDistance, photo: Image, face: FloatArray
) -> None:
    scorer = DetailScorer(perceptual, photo, face)
    spoilt = cv2.GaussianBlur(photo, (0, 0), 3)
    pictures = [photo, spoilt, photo, spoilt, photo]
    meshes = [face, with_lips(face, 12), with_lips(face, 5.9), with_shut_eyes(face), face]
    for picture, mesh in zip(pictures, meshes, strict=True):
        scorer.add(picture, photo, described(mesh), described(mesh))
    found = scorer.detail_scores()
    assert found.open_mouth_l1 == pytest.approx(found.mouth_l1 * 5 / 2, rel=0.05)
    assert found.open_mouth_perceptual == pytest.approx(found.mouth_perceptual * 5 / 2, rel=0.05)
    assert found.closed_eye_l1 == pytest.approx(found.eye_l1 * 5 / 2, rel=0.05)
    assert found.closed_eye_perceptual == pytest.approx(found.eye_perceptual * 5 / 2, rel=0.05)


def test_the_lip_gap_is_the_median_share_of_the_true_one(
    perceptual: PerceptualDistance, photo: Image, face: FloatArray
) -> None:
    scorer = DetailScorer(perceptual, photo, face)
    for predicted, true in ((4, 8), (8, 16), (30, 10), (5, 10), (6, 12), (5, 1)):  # the last is not open
        scorer.add(photo, photo, described(with_lips(face, predicted)), described(with_lips(face, true)))
    scorer.add(photo, photo, described(None), described(with_lips(face, 10)))
    assert scorer.detail_scores().lip_gap_ratio == pytest.approx(0.5, rel=1e-4)
    assert lip_gap_px(with_lips(face, 7)) == pytest.approx(7, rel=1e-4)


def test_sharpness_is_the_photos_share(perceptual: PerceptualDistance, photo: Image, face: FloatArray) -> None:
    def sharpness(picture: Image, source: Image = photo) -> float:
        scorer = DetailScorer(perceptual, source, face)
        scorer.add(picture, fit(photo, picture.shape[0]), described(face), described(face))
        return scorer.detail_scores().sharpness

    soft, softer = (cv2.GaussianBlur(photo, (0, 0), sigma).astype(np.uint8) for sigma in (1, 3))
    assert sharpness(photo) == pytest.approx(1)
    assert sharpness(softer) < 0.5 < 2 * sharpness(soft) and sharpness(softer) < sharpness(soft) < 0.9
    outside = photo.copy()
    outside[:40] = 0
    assert sharpness(outside) == pytest.approx(1)  # only the face counts
    large = fit(photo, 512)
    assert sharpness(photo, source=large) == pytest.approx(1, rel=0.01)  # enlarged to the photo's size
    assert sharpness(large) == pytest.approx(1, rel=0.1)  # and shrunk to it
    assert np.isnan(sharpness(plain_picture(9, 256, 256), source=plain_picture(9, 256, 256)))
    assert gradient_energy(plain_picture(9, 256, 256), face) == 0


def test_flicker_is_what_changes_beyond_the_truth(
    perceptual: PerceptualDistance, photo: Image, face: FloatArray
) -> None:
    calm, alternating, lazy, interrupted = (DetailScorer(perceptual, photo, face) for _ in range(4))
    for step in range(4):
        truth = np.clip(photo.astype(np.int64) // 2 + 3 * step, 0, 255).astype(np.uint8)
        noise = np.uint8(10 * (step % 2))
        calm.add(truth, truth, described(face), described(face))
        alternating.add(truth + noise, truth, described(face), described(face))
        lazy.add(photo, truth, described(face), described(face))
        interrupted.add(truth + noise, truth, described(face), described(None if step % 2 else face))
    assert calm.detail_scores().flicker == 0
    assert alternating.detail_scores().flicker == pytest.approx((10 + 4 + 10) / 3)  # 13, 7 and 13 instead of 3
    assert lazy.detail_scores().flicker == 0  # still where it should move: that is no flicker
    assert np.isnan(interrupted.detail_scores().flicker)
    outside = photo.copy()
    outside[:20] = 0
    assert flicker((photo, outside), (photo, photo), face) == 0


def test_faces_that_are_not_there_leave_no_figures(
    perceptual: PerceptualDistance, photo: Image, face: FloatArray
) -> None:
    nothing, lost = DetailScorer(perceptual, photo, None), DetailScorer(perceptual, photo, face)
    nothing.add(photo, photo, described(face), described(None))
    assert np.isnan(nothing.detail_scores()).all()
    lost.add(photo, photo, described(None), described(with_lips(face, 9)))
    found = lost.detail_scores()
    assert found.mouth_l1 == found.open_mouth_l1 == found.eye_l1 == 0  # the truth says where to look
    assert np.isnan(found.lip_gap_ratio) and np.isnan(found.sharpness)


def test_batches_change_nothing(perceptual: PerceptualDistance, photo: Image, face: FloatArray) -> None:
    spoilt = blurred_at(photo, face_squares(face).mouth.centre)
    once, often = DetailScorer(perceptual, photo, face), DetailScorer(perceptual, photo, face)
    once.add(spoilt, photo, described(face), described(face))
    for _ in range(BATCH + 1):
        often.add(spoilt, photo, described(face), described(face))
    assert often.detail_scores() == pytest.approx(once.detail_scores()._replace(flicker=0), nan_ok=True, rel=1e-4)


def test_irises_say_where_a_face_looks(face: FloatArray) -> None:
    aside = face.copy()
    for iris, (first, second) in ((468, (33, 133)), (473, (362, 263))):
        middle = (face[first] + face[second]) / 2
        aside[iris] = middle + 0.25 * (face[second] - face[first])
    assert looks_aside(face) == pytest.approx(0, abs=0.05)
    assert looks_aside(aside) == pytest.approx(0.5)  # half way to the corner at the picture's right
