"""The identity loss: dlib's face recognition network in torch, and the face alignment that it was trained on."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.errors import ModelError
from avatarify_plus.face.landmarks import LEFT_EYE, NOSE_BASE, RIGHT_EYE
from avatarify_plus.network.generator import Window
from training.objective.packages import package_folder

CHIP_PX = 150
"""Side of the aligned face that the network expects, in px."""

ALIGNMENT_POINTS = (*LEFT_EYE.corners, *RIGHT_EYE.corners, NOSE_BASE)
"""Mesh points that stand for dlib's five: outer and inner corner of the left and of the right eye, and nose base."""

MEAN_FACE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""Where dlib's face chips hold dlib's five points, before padding. Source: dlib's get_face_chip_details."""

PADDING = 0.25
FINEST_PX = 256
"""Side of the largest picture whose pixels are sampled one by one: its face is about as large as the chip."""


class IdentityNetwork(nn.Module):
    """Return dlib's 128-d face descriptors; frozen: the gradient flows only to the faces.

    forward: aligned faces (B, 3, 150, 150) in [0, 1] to (B, 128) float32. One person's faces lie within 0.6 of each
    other. Source: King's dnn_face_recognition_ex, a ResNet-34 (He et al. 2016) with fewer layers and half the width.
    Weights: package face-recognition-models. Raises ConfigError if it is not installed, ModelError if it is damaged.
    """

    mean: Tensor
    projection: Tensor
    # channels and blocks of each level; all but the first begin with a block that halves the size
    LEVELS = ((32, 3), (64, 4), (128, 3), (256, 3), (256, 1))

    def __init__(self) -> None:
        super().__init__()
        # Located, not imported: importing the package needs an old setuptools.
        folder = package_folder("face_recognition_models", "face-recognition-models") / "models"
        reader = DlibReader(folder / "dlib_face_recognition_resnet_model_v1.dat")
        channels = self.LEVELS[0][0]
        self.first = _folded_convolution(reader, 3, channels, kernel=7, stride=2)
        blocks = []
        for level, (width, count) in enumerate(self.LEVELS):
            for block in range(count):
                blocks.append(_Residual(reader, channels, width, halves=level > 0 and block == 0))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.register_buffer("projection", reader.tensor("fc_2", (channels, 128), integers_before=2))
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298])[None, :, None, None])
        self.requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        x = F.relu(self.first((faces * 255 - self.mean) / 256))  # (B, 32, 72, 72)
        x = self.blocks(F.max_pool2d(x, 3, stride=2))  # (B, 32, 35, 35) to (B, 256, 2, 2)
        with torch.autocast(x.device.type, enabled=False):
            return x.float().mean((2, 3)) @ self.projection


class _Residual(nn.Module):
    """Two convolutions and a shortcut; where they halve the size, the shortcut averages and gains empty channels."""

    def __init__(self, reader: DlibReader, channels: int, out_channels: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.conv1 = _folded_convolution(reader, channels, out_channels, kernel=3, stride=2 if halves else 1)
        self.conv2 = _folded_convolution(reader, out_channels, out_channels, kernel=3, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(x)))
        if not self.halves:
            return F.relu(inner + x)
        shortcut = F.avg_pool2d(x, 2)
        # dlib adds tensors of different sizes at their first corner, as if the smaller went on with zeros.
        missing = shortcut.shape[-1] - inner.shape[-1]
        inner = F.pad(inner, (0, missing, 0, missing))
        shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, inner.shape[1] - shortcut.shape[1]))
        return F.relu(inner + shortcut)


class DlibReader:
    """Read the weights of a network that dlib serialised, in the order of its layers.

    A layer is written as its name, after the name's length, and later its parameters: a version, four dimensions and
    little-endian float32. Integers are a byte that counts their bytes, then those. Raises ModelError if the file is
    unreadable or holds another network.
    """

    TENSOR_VERSION = 2

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        try:
            self._data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from error

    def tensor(self, layer: str, shape: tuple[int, ...], integers_before: int = 0) -> Tensor:
        """Return the parameters of the next layer of this name; `integers_before` them are skipped."""
        name = struct.pack("B", len(layer)) + layer.encode()
        start = self._data.find(name, self._position)
        self._position = start + len(name)
        version, *dimensions = [self._integer() for _ in range(integers_before + 5)][integers_before:]
        wanted = list(shape) + [1] * (4 - len(shape))
        end = self._position + 4 * int(np.prod(shape))
        if start < 0 or version != self.TENSOR_VERSION or dimensions != wanted or end > len(self._data):
            raise ModelError(
                f"{self._path} is not dlib's face recognition network: no {layer} of shape {shape} where it should be; "
                "reinstall face-recognition-models==0.3.0"
            )
        values = np.frombuffer(self._data[self._position : end], "<f4").reshape(shape)
        self._position = end
        return torch.from_numpy(values.astype(np.float32))

    def _integer(self) -> int:
        """Return the integer at the position; the first byte's low half counts its bytes."""
        count = self._data[self._position] & 15 if self._position < len(self._data) else 0
        value = self._data[self._position + 1 : self._position + 1 + count]
        self._position += 1 + count
        return int.from_bytes(value, "little")


def _folded_convolution(reader: DlibReader, channels: int, out_channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """Read a convolution and the affine layer after it, and fold them into one; strided ones have no padding."""
    convolution = nn.Conv2d(channels, out_channels, kernel, stride, padding=0 if stride > 1 else kernel // 2)
    size = out_channels * channels * kernel**2
    parameters = reader.tensor("con_4", (size + out_channels,))
    gain, offset = reader.tensor("affine_", (2 * out_channels,)).chunk(2)
    weight = parameters[:size].reshape(out_channels, channels, kernel, kernel)
    convolution.weight.data = weight * gain[:, None, None, None]
    assert convolution.bias is not None
    convolution.bias.data = parameters[size:] * gain + offset
    return convolution


def face_chips(image: Tensor, landmarks: Tensor) -> Tensor:
    """Cut the aligned faces (B, 3, 150, 150) out of pictures (B, 3, S, S) in [0, 1]; black outside.

    landmarks: the face mesh (B, 468 or 478, 2) in [0, 1]. A mirrored picture's must have its left and right points
    exchanged. The similarity that carries the mean face to them in least squares is dlib's get_face_chip with
    padding 0.25. Differentiable by the picture.
    """
    size = image.shape[-1]
    found = landmarks[:, list(ALIGNMENT_POINTS)].detach().float() * 2 - 1  # (B, 5, 2), x and y in [-1, 1]
    wanted = (torch.tensor(MEAN_FACE, device=image.device) + PADDING) / (1 + 2 * PADDING) * 2 - 1  # (5, 2)
    linear, shift = _similarity(wanted, found)
    # A shrunk face is averaged, so that it does not alias; by the size only, so that no device is waited for.
    samples = -(-size // FINEST_PX)
    transform = torch.cat([linear, shift[:, :, None]], -1)  # (B, 2, 3)
    side = CHIP_PX * samples
    grid = F.affine_grid(transform, [len(image), 3, side, side], align_corners=False)
    chips = F.grid_sample(image.float(), grid, align_corners=False)
    return F.avg_pool2d(chips, samples)


def _similarity(points: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix (B, 2, 2) and shift (B, 2) that carry points (P, 2) to moved (B, P, 2) in least squares."""
    centre, moved_centre = points.mean(0), moved.mean(1)
    x, y = (points - centre).unbind(-1)  # (P,)
    u, v = (moved - moved_centre[:, None]).unbind(-1)  # (B, P)
    spread = (x**2 + y**2).sum()
    cosine, sine = (x * u + y * v).sum(-1) / spread, (x * v - y * u).sum(-1) / spread
    linear = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)  # (B, 2, 2)
    return linear, moved_centre - linear @ centre


def identity_distance(
    network: nn.Module, prediction: Tensor, truth: Tensor, landmarks: Tensor, window: Window | None = None
) -> Tensor:
    """Return the mean distance of the descriptors of prediction and truth (B, 3, S, S), both aligned as the truth.

    landmarks: the truth's face mesh (B, 468 or 478, 2) in [0, 1]. With a window the prediction is only that part, and
    the truth surrounds it. The gradient flows only to the prediction.
    """
    if window is not None:
        whole = truth.float().clone()
        window.cut(whole, 2).copy_(prediction)
        prediction = whole
    with torch.no_grad():
        wanted = network(face_chips(truth, landmarks))
    found = network(face_chips(prediction, landmarks))
    return torch.linalg.vector_norm(found - wanted, dim=-1).mean()
