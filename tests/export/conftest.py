"""A model that leaves the photo to its caller, quantized: what its graphs are fed with, and its int8 twins."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from avatarify_plus.bundle import Bundle, open_bundle
from scenes import scene

if TYPE_CHECKING:
    from export.calibration import Example

TOLERANCE_LEVELS = 1.0


@pytest.fixture(scope="session")
def photo_examples(photo_bundle: Bundle) -> dict[str, list[Example]]:
    """Return examples of a model with contours and parts: a face that moves a little."""
    from avatarify_plus.engines.photo_engine import PhotoEngine
    from export.calibration import Observer

    with Observer(photo_bundle) as observer:
        engine = PhotoEngine(observer, always_paints=True)
        for seed in range(3):
            shown = scene(photo_bundle, seed)
            engine.detect(shown.driving)
            engine.animate(engine.encode_source(shown.source, shown.source_keypoints), shown.driving_keypoints)
    return observer.examples


@pytest.fixture(scope="session")
def quantized_photo(
    photo_bundle: Bundle, photo_examples: dict[str, list[Example]], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """Return the bundle with an int8 twin of each graph that paints."""
    from export import quantize

    folder = tmp_path_factory.mktemp("quantized") / "tiny-photo"
    shutil.copytree(photo_bundle.folder, folder)
    trials = {graph: examples[:2] for graph, examples in photo_examples.items()}
    reports = quantize.quantize_bundle(open_bundle(folder), photo_examples, trials, TOLERANCE_LEVELS)
    assert set(reports) == {"animate", "paint_mouth", "paint_eye"}
    assert all(0 < report.loss <= TOLERANCE_LEVELS for report in reports.values())
    return open_bundle(folder)
