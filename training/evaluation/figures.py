"""Figures of a report: side by side, keypoints, and how a picture was made (Figures 11 to 14 of the paper)."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarify_plus.pictures.images import resize
from avatarify_plus.types import FloatArray, Image, Keypoints
from training.contact_sheet import contact_sheet
from training.evaluation.closeups import CLOSEUP_PX, Closeup, closeup_rows
from training.evaluation.runner import Moment

if TYPE_CHECKING:
    from avatarify_plus.network.model import AnimationModel

CELL_PX = 256
KEYPOINT_CELL_PX = 448
DOT_PX = 3
AXIS_PX = 12
"""Length of the median axis of the source's jacobians."""

GOLDEN_RATIO = 0.618034
BACKGROUND_COLOUR = (40, 40, 40)


def side_by_side(moment: Moment, names: Sequence[str]) -> Image:
    """Return source | driving | the other bundles | the model | truth (Figures 11 and 12).

    names: the bundles', the measured one first. Without a truth its picture is left out.
    """
    others = list(zip(names[1:], moment.predictions[1:], strict=True))
    cells = [("source", moment.source), ("driving", moment.driving), *others, (names[0], moment.predictions[0])]
    if moment.truth is not None:
        cells.append(("truth", moment.truth))
    return contact_sheet([[image for _, image in cells]], [label for label, _ in cells], CELL_PX)


def closeup_sheet(closeups: Sequence[Closeup], names: Sequence[str]) -> Image:
    """Return a row for each close-up: source | driving | the other bundles | the model.

    names: the bundles', the measured one first.
    """
    return contact_sheet(closeup_rows(closeups), ["source", "driving", *names[1:], names[0]], CLOSEUP_PX)


def keypoint_figure(moment: Moment) -> Image:
    """Return source and driving with their keypoints, and the prediction with those it should show (Figure 13)."""
    scale = axis_scale(moment.source_keypoints)
    cells = [
        draw_keypoints(image, keypoints, scale)
        for image, keypoints in (
            (moment.source, moment.source_keypoints),
            (moment.driving, moment.driving_keypoints),
            (moment.predictions[0], moment.moved_keypoints),
        )
    ]
    return contact_sheet([cells], ["source", "driving", "model, keypoints asked for"], KEYPOINT_CELL_PX)


def motion_figure(moment: Moment, model: AnimationModel) -> Image:
    """Return how a picture was made: source | driving | prediction | the source warped only | masks | occlusion maps.

    Masks are drawn by the strongest at each place, in its keypoint's colour; the background's is dark grey. Of the
    occlusion maps the coarsest and the finest: white keeps the warped source, black is painted. Computed in torch
    from the bundle's weights.
    """
    import torch  # measuring needs no torch, this figure does

    from avatarify_plus.network.blocks import resize_deformation, warp
    from avatarify_plus.network.graphs import to_app_image, to_model_image

    def batched(keypoints: Keypoints) -> Keypoints:
        return Keypoints(*(torch.from_numpy(np.array(part, np.float32))[None] for part in keypoints))

    with torch.inference_mode():
        image = to_model_image(torch.from_numpy(resize(moment.source, model.config.image_size))[None])
        source = model.encode_source(image, batched(moment.source_keypoints))
        prediction = model.animate(source, batched(moment.moved_keypoints))
        motion = prediction.motion
        warped = warp(image, resize_deformation(motion.deformation, image.shape[-1]))
        pictures = [
            moment.predictions[0] if part is None else to_app_image(part)[0].numpy()
            for part in (prediction.image, warped)
        ]
        winners = motion.mask[0].argmax(0).numpy()
        occlusions = [part[0, 0].numpy() for part in motion.occlusions]
    driving = draw_keypoints(moment.driving, moment.driving_keypoints, axis_scale(moment.source_keypoints))
    palette = np.array([BACKGROUND_COLOUR, *keypoint_colours(model.config.keypoint_count)], np.uint8)
    chosen = occlusions if len(occlusions) < 2 else [occlusions[0], occlusions[-1]]
    maps = [_enlarged(palette[winners], CELL_PX), *(grey(occlusion, CELL_PX) for occlusion in chosen)]
    cells = [moment.source, driving, *pictures, *maps]
    labels = ["source", "driving", "model", "warp only", "strongest mask", *(f"occlusion {len(o)} px" for o in chosen)]
    return contact_sheet([cells], labels, CELL_PX)


def draw_keypoints(image: Image, keypoints: Keypoints, scale: float) -> Image:
    """Return an enlarged picture with a dot per keypoint, each in its own colour, and its jacobian's columns as axes.

    scale: length in px per unit of the jacobian. The first axis is drawn thick.
    """
    canvas, places = _enlarged_with_places(image, keypoints, KEYPOINT_CELL_PX)
    for place, axes, colour in zip(places, keypoints.jacobian, keypoint_colours(len(places)), strict=True):
        for axis, thickness in ((0, 2), (1, 1)):
            tip = place + scale * np.asarray(axes, np.float64)[:, axis]
            _line(canvas, place, tip, (0, 0, 0), thickness + 2)
            _line(canvas, place, tip, colour, thickness)
        _dot(canvas, place, colour, DOT_PX)
    return canvas


def draw_dots(image: Image, keypoints: Keypoints, side_px: int, radius_px: int) -> Image:
    """Return a picture of side_px with a dot per keypoint, each in its own colour (Figure 13 of the paper)."""
    canvas, places = _enlarged_with_places(image, keypoints, side_px)
    for place, colour in zip(places, keypoint_colours(len(places)), strict=True):
        _dot(canvas, place, colour, radius_px)
    return canvas


def grey(values: FloatArray, side_px: int) -> Image:
    """Return a map (h, w) in [0, 1] as a grey picture of side_px."""
    return np.repeat(levels(values, side_px)[..., None], 3, axis=2)


def levels(values: FloatArray, side_px: int) -> Image:
    """Return a map (h, w) in [0, 1] as (side_px, side_px) levels from 0 to 255, without inventing values between."""
    return _enlarged(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8), side_px)


def axis_scale(keypoints: Keypoints) -> float:
    """Return the length of a unit of the jacobians in px that makes the median axis AXIS_PX long."""
    return AXIS_PX / max(float(np.median(np.linalg.norm(keypoints.jacobian, axis=1))), 1e-6)


def keypoint_colours(count: int) -> list[tuple[int, int, int]]:
    """Return distinct bright RGB colours: hues by the golden ratio, so that neighbours differ most."""
    colours = []
    for index in range(count):
        red, green, blue = colorsys.hsv_to_rgb(
            index * GOLDEN_RATIO % 1, 0.95 if index % 2 else 0.6, 1 if index % 3 else 0.8
        )
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def _enlarged_with_places(image: Image, keypoints: Keypoints, side_px: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return a copy of a picture in another size, and where its keypoints are in it, (K, 2) in px."""
    canvas: NDArray[Any] = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return canvas, (np.asarray(keypoints.value, np.float64) + 1) / 2 * side_px - 0.5


def _dot(canvas: NDArray[Any], place: NDArray[np.float64], colour: tuple[int, int, int], radius_px: int) -> None:
    cv2.circle(canvas, _pixel(place), radius_px + 1, (0, 0, 0), -1, cv2.LINE_AA)
    cv2.circle(canvas, _pixel(place), radius_px, colour, -1, cv2.LINE_AA)


def _line(
    canvas: NDArray[Any],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    cv2.line(canvas, _pixel(start), _pixel(end), colour, thickness, cv2.LINE_AA)


def _pixel(place: NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.clip(np.nan_to_num(place), -1e4, 1e4)
    return round(float(x)), round(float(y))


def _enlarged(image: Image, side_px: int) -> Image:
    """Enlarge a map (h, w) or (h, w, 3) without inventing values between its own."""
    enlarged: Image = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    return enlarged
