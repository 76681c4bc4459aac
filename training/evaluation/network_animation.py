"""A trained network's animation of one source, as the paper measures it: with its own keypoints, unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatarify_plus.config import MotionMode
from avatarify_plus.errors import ConfigError
from avatarify_plus.network.graphs import to_app_image, to_model_image
from avatarify_plus.pictures.images import View
from avatarify_plus.pictures.photo_region import surround
from avatarify_plus.types import Image, Keypoints
from training.evaluation.trained_network import TrainedNetwork


class NetworkAnimation:
    """One trained network's animation of one source. Raises ConfigError for relative motion."""

    def __init__(self, trained: TrainedNetwork, motion: MotionMode) -> None:
        if motion != "absolute":
            raise ConfigError("a run's checkpoint is measured by reconstruction only: export a bundle for the rest")
        self._network = trained.network
        self._source: Any = None  # each network has its own form of it
        self._driving: Keypoints | None = None

    def set_source(self, view: View, square: Image | None = None, find: object = None) -> None:
        """Set the photo: what is seen of it; its own size, and how it answers, the paper does without."""
        reach = self._network.config.photo_reach
        with torch.inference_mode():
            image = network_image(view.image)
            source: Any = self._network.encode_source(image, self._network.locate(image, None))
            if reach:
                photo = network_image(surround(view.image, reach))
                source = source._replace(features=source.features._replace(picture=photo))
            self._source = source

    def animate(self, view: View, time_s: float) -> Image:
        """Return the picture for a view of the driver; the time does not matter."""
        assert self._source is not None, "set_source comes first"
        with torch.inference_mode():
            self._driving = self._network.locate(network_image(view.image), None)
            prediction = self._network.animate(self._source, self._driving).image
            assert prediction is not None, "the source holds what is warped"
            picture: Image = to_app_image(prediction)[0].numpy()
        return picture

    def keypoints(self) -> tuple[Keypoints, Keypoints]:
        """Return the driver's keypoints in the view that was just animated, and those that were shown: the same."""
        assert self._driving is not None, "animate comes first"
        return app_keypoints(self._driving), app_keypoints(self._driving)

    @property
    def source_keypoints(self) -> Keypoints:
        """The source's keypoints."""
        assert self._source is not None, "set_source comes first"
        return app_keypoints(self._source.keypoints)


def network_image(image: Image) -> Tensor:
    """Return a picture (S, S, 3) as the network takes it, (1, 3, S, S)."""
    return to_model_image(torch.from_numpy(np.ascontiguousarray(image))[None])


def app_keypoints(keypoints: Keypoints) -> Keypoints:
    """Return the keypoints of a batch of one as the app has them: numpy, without the batch."""
    return Keypoints(*(part[0].numpy() for part in keypoints))
