"""Changes to a graph for OpenVINO: the same numbers, faster or more exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as operations

from avatarify_plus.types import FloatArray

MIN_ROW = 16
"""The minimum of channels with which a warp is faster by whole rows than channel by channel."""


def warps_of(model: openvino.Model) -> list[Any]:
    """Return a model's GridSample nodes, in the order of computation."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "GridSample"]


def keep_coordinates_exact(model: openvino.Model) -> None:
    """Make a model's warps read float32 coordinates even where the rest is computed in bfloat16.

    bfloat16 coordinates are off by up to half a pixel. OpenVINO's CPU plugin leaves in float32 whatever lies between
    an output and the last convolution or interpolation before it. So the coordinates become outputs too, and where
    they are interpolated, a GridSample at the pixels' centres, which gives the same numbers, takes its place.
    """
    warps = warps_of(model)
    for warp in warps:
        reader = warp.input(1)
        while (resize := reader.get_source_output().get_node()).get_type_name() == "Transpose":
            reader = resize.input(0)  # (1, 2, S, S) to (1, S, S, 2)
        if resize.get_type_name() != "Interpolate":
            continue
        line = (2 * np.arange(resize.output(0).shape[-1], dtype=np.float32) + 1) / resize.output(0).shape[-1] - 1
        centres = operations.constant(np.stack(np.meshgrid(line, line), -1)[None])  # (1, S, S, 2), (x, y)
        bilinear = {"mode": "bilinear", "padding_mode": "border", "align_corners": False}
        exact = operations.grid_sample(resize.input_value(0), centres, bilinear)
        reader.replace_source_output(exact.output(0))
    if warps:
        model.add_outputs([warp.input_value(1) for warp in warps])
    model.validate_nodes_and_infer_types()


def warp_by_rows(model: openvino.Model) -> set[str]:
    """Make a model warp its inputs of many channels by whole rows of channels.

    OpenVINO's GridSample fetches every channel of a pixel from another place in memory; where the channels of a pixel
    lie side by side, four fetches and a weighted sum give the same in a third of the time. Returns the names of the
    inputs that must be given as `rows_of` from now on. Not for bfloat16: the places would be computed in it.
    """
    changed = set()
    for warp in warps_of(model):
        parameter = warp.input_value(0).get_node()
        is_input = parameter.get_type_name() == "Parameter"
        if not is_input or len(parameter.output(0).get_target_inputs()) != 1 or parameter.output(0).shape[1] < MIN_ROW:
            continue
        name = parameter.output(0).get_any_name()
        _, channels, height, width = parameter.output(0).shape
        rows = operations.parameter([(height + 2) * (width + 2), channels], np.float32, name)
        warped = _sample_rows(rows, warp.input_value(1), height, width)
        for reader in warp.output(0).get_target_inputs():
            reader.replace_source_output(warped.output(0))
        model.remove_parameter(parameter)
        model.add_parameters([rows])
        rows.output(0).set_names({name})
        changed.add(name)
    model.validate_nodes_and_infer_types()
    return changed


def rows_of(feature: FloatArray) -> FloatArray:
    """Return a feature (1, C, H, W) with a border of zeros as rows of channels, ((H + 2) (W + 2), C)."""
    padded = np.pad(feature[0], ((0, 0), (1, 1), (1, 1)))
    return np.ascontiguousarray(padded.reshape(len(padded), -1).T)


def _sample_rows(rows: Any, grid: Any, height: int, width: int) -> Any:
    """Return the nodes that sample `rows_of` a feature at a grid (1, H', W', 2): (1, C, H', W'), zeros outside."""

    def number(value: Any, kind: Any = np.float32) -> Any:
        return operations.constant(np.asarray(value, kind))

    size = np.array([width, height], np.float32)
    place = operations.add(operations.multiply(grid, number(size / 2)), number(size / 2 + 0.5))  # of the border's cells
    place = operations.minimum(operations.maximum(place, number(0)), number(size + 1))
    corner = operations.minimum(operations.floor(place), number(size))
    part = operations.subtract(place, corner)  # (1, H', W', 2)
    last = number(3, np.int32)
    column, row = (operations.gather(corner, number(axis, np.int32), last) for axis in (0, 1))  # (1, H', W')
    right, lower = (operations.gather(part, number([axis], np.int32), last) for axis in (0, 1))  # (1, H', W', 1)
    first = operations.convert(operations.add(operations.multiply(row, number(width + 2)), column), "i32")
    left, upper = (operations.subtract(number(1), share) for share in (right, lower))
    corners = ((0, left, upper), (1, right, upper), (width + 2, left, lower), (width + 3, right, lower))
    total = None
    for step, across, down in corners:
        fetched = operations.gather(rows, operations.add(first, number(step, np.int32)), number(0, np.int32))
        share = operations.multiply(fetched, operations.multiply(across, down))  # (1, H', W', C)
        total = share if total is None else operations.add(total, share)
    return operations.transpose(total, number([0, 3, 1, 2], np.int32))
