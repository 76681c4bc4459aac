"""What is changed in a graph for OpenVINO changes no number."""

import numpy as np
import openvino
import pytest
from openvino import opset13 as operations

from avatarify_plus.engines.openvino_graph import MIN_ROW, rows_of, warp_by_rows, warps_of
from avatarify_plus.types import FloatArray

BILINEAR = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False}


def warping_model(channels: int, height: int, width: int) -> openvino.Model:
    feature = operations.parameter([1, channels, height, width], np.float32, "feature")
    grid = operations.parameter([1, 9, 11, 2], np.float32, "grid")
    feature.output(0).set_names({"feature"})
    grid.output(0).set_names({"grid"})
    warped = operations.grid_sample(feature, grid, BILINEAR)
    return openvino.Model([operations.result(operations.relu(warped))], [feature, grid], "warp")


def compute(model: openvino.Model, feature: FloatArray, grid: FloatArray) -> FloatArray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found: FloatArray = compiled({"feature": feature, "grid": grid})[0].copy()
    return found


@pytest.mark.parametrize("reach", [0.9, 1.05, 3.0, 1e6])
def test_warping_by_rows_is_grid_sample(reach: float) -> None:
    """Inside, across the border, far outside, and where coordinates have gone wild."""
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(1, MIN_ROW, 7, 5)).astype(np.float32)
    grid = rng.uniform(-reach, reach, (1, 9, 11, 2)).astype(np.float32)
    grid[0, 0, :6, 0] = [-1, 1, 0, -1.2, 1.2, -reach]  # edges, middle, the middle of the border
    expected = compute(warping_model(MIN_ROW, 7, 5), feature, grid)
    model = warping_model(MIN_ROW, 7, 5)
    assert warp_by_rows(model) == {"feature"}
    assert not warps_of(model)
    np.testing.assert_allclose(compute(model, rows_of(feature), grid), expected, atol=1e-4)


def test_few_channels_are_left_alone() -> None:
    model = warping_model(MIN_ROW - 1, 7, 5)
    assert warp_by_rows(model) == set()
    assert len(warps_of(model)) == 1


def test_rows_have_a_border_of_zeros() -> None:
    feature = np.arange(1, 25, dtype=np.float32).reshape(1, 2, 3, 4)
    rows = rows_of(feature).reshape(5, 6, 2)
    np.testing.assert_array_equal(rows[1:-1, 1:-1], feature[0].transpose(1, 2, 0))
    assert not rows[0].any() and not rows[-1].any() and not rows[:, 0].any() and not rows[:, -1].any()
