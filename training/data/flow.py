"""Optical flow between source and driving pictures: what dense motion should find, computed from both pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avatarify_plus.types import FloatArray, Image

FLOW_PX = 128
"""Side of the pictures that flow is computed on: it takes 2 ms a pair, and motion is learned on 64 cells anyway."""

UNTRUSTED_ERROR = 0.08
"""Where the warped source differs from the driving picture by this mean difference, the flow has no confidence."""


class Flow(NamedTuple):
    """The flow of a batch.

    deformation: (B, m, m, 2), for each driving pixel the source coordinate in [-1, 1]. confidence: (B, m, m) in [0, 1].
    """

    deformation: Tensor
    confidence: Tensor


class FlowFinder:
    """Find flow by dense inverse search (Kroeger et al. 2016, OpenCV's), in one thread at a time."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def find(self, source: Image, driving: Image) -> tuple[FloatArray, FloatArray]:
        """Return deformation (m, m, 2) and confidence (m, m) in [0, 1] of two (S, S, 3) pictures.

        The confidence falls where the flow cannot explain the picture: at hidden places, in new light.
        """
        source, driving = (_shrunk(image) for image in (source, driving))
        size = source.shape[0]
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (driving, source)]
        flow = self._search.calc(grey[0], grey[1], None)  # (S, S, 2) px
        line = np.arange(size, dtype=np.float32)
        places = np.stack(np.meshgrid(line, line), -1) + flow
        warped = cv2.remap(source, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        error = cv2.GaussianBlur(np.abs(warped.astype(np.float32) - driving).mean(-1) / 255, (0, 0), 1.5)
        confidence = np.clip(1 - error / UNTRUSTED_ERROR, 0, 1)
        deformation = (places + 0.5) * (2 / size) - 1  # OpenCV's pixel i is the coordinate i + 0.5
        shape = (self._cells, self._cells)
        return (
            cv2.resize(deformation, shape, interpolation=cv2.INTER_AREA),
            cv2.resize(confidence, shape, interpolation=cv2.INTER_AREA),
        )


class BatchFlow:
    """Find the flow of whole batches, on several threads."""

    def __init__(self, cells: int, threads: int) -> None:
        self._finders = [FlowFinder(cells) for _ in range(threads)]
        self._executor = ThreadPoolExecutor(threads, "flow")

    def find(self, source: Tensor, driving: Tensor) -> Flow:
        """Return the flow from driving to source pictures (B, 3, S, S) in [0, 1], on their device."""
        size = min(FLOW_PX, source.shape[-1])
        pairs = torch.stack([source, driving], 1).flatten(0, 1).float()  # (2B, 3, S, S)
        pairs = F.interpolate(pairs, size=(size, size), mode="area")
        pictures = (pairs * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        pictures = np.ascontiguousarray(pictures).reshape(len(source), 2, size, size, 3)
        parts = [pictures[first :: len(self._finders)] for first in range(len(self._finders))]
        found = list(self._executor.map(_find_all, self._finders, parts))
        flows = [found[index % len(found)][index // len(found)] for index in range(len(pictures))]
        return Flow(*(part.to(source.device) for part in stack_flows(flows)))

    def close(self) -> None:
        """End the threads."""
        self._executor.shutdown()


def _find_all(finder: FlowFinder, pairs: NDArray[np.uint8]) -> list[tuple[FloatArray, FloatArray]]:
    return [finder.find(source, driving) for source, driving in pairs]


def flow_loss(flow: Flow, deformation: Tensor, furthest: float = 0.5) -> Tensor:
    """Return the mean distance of a deformation (B, m, m, 2) from the flow's, weighted by the flow's confidence.

    Distances count up to `furthest` picture halves: beyond that the flow is more likely to be wrong than the motion.
    """
    distance = (deformation.float() - flow.deformation).abs().sum(-1)  # (B, m, m)
    return (distance.clamp(max=furthest) * flow.confidence).mean()


def keypoint_flow_loss(flow: Flow, source: Tensor, driving: Tensor, furthest: float = 0.5) -> Tensor:
    """Return how far keypoints (B, K, 2) are from showing the same thing in source and driving picture.

    A driving keypoint's place should flow to the source keypoint's. The flow's own slope at the driving keypoint is
    taken as 1.
    """
    place = driving.detach().clamp(-1, 1)[:, None]  # (B, 1, K, 2)
    sampled = [
        F.grid_sample(part, place, padding_mode="border", align_corners=False)[:, :, 0]  # (B, C, K)
        for part in (flow.deformation.permute(0, 3, 1, 2), flow.confidence[:, None])
    ]
    wanted = sampled[0].mT + (driving - driving.detach())  # (B, K, 2)
    distance = (source - wanted).abs().sum(-1)  # (B, K)
    return (distance.clamp(max=furthest) * sampled[1][:, 0]).mean()


def stack_flows(flows: list[tuple[FloatArray, FloatArray]]) -> Flow:
    """Return a batch of flows."""
    deformations, confidences = zip(*flows, strict=True)
    return Flow(torch.from_numpy(np.stack(deformations)), torch.from_numpy(np.stack(confidences)))


def _shrunk(image: Image) -> Image:
    image = np.ascontiguousarray(image)
    if image.shape[0] <= FLOW_PX:
        return image
    return cv2.resize(image, (FLOW_PX, FLOW_PX), interpolation=cv2.INTER_AREA)
