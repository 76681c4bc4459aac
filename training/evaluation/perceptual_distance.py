"""How different two pictures look: the distance of their features in training's perceptual network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from avatarify_plus.network.graphs import to_model_image
from avatarify_plus.types import Image
from training.objective.losses import feature_distances
from training.objective.perceptual import perceptual_network

NETWORK = "efficientnet-lite0"


class PerceptualDistance:
    """Compare batches of small pictures.

    Raises ConfigError where the network's weights are missing.
    """

    def __init__(self) -> None:
        self._network = perceptual_network(NETWORK)

    def __call__(self, predictions: Image, truths: Image) -> NDArray[np.float64]:
        """Return each pair's distance, (N,), of pictures (N, S, S, 3); 0 is the same picture.

        It is the mean over the network's layers of the features' mean absolute difference, as a share of the mean
        magnitude of the truth's.
        """
        with _one_thread(), torch.inference_mode():
            distances = feature_distances(
                self._network, *(to_model_image(torch.from_numpy(images)) for images in (predictions, truths))
            )
            found: NDArray[np.float64] = distances.mean(0).double().numpy()
        return found


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in this thread alone: small pictures gain little by more, which wait busily for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
