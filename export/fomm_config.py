"""The settings of the First Order Motion Model that its checkpoints do not hold, from its own YAML files.

Its configs are nested mappings of plain values, so that a small reader does; PyYAML is not needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarify_plus.errors import ConfigError

MAX_BYTES = 1_000_000
"""Larger files are no configs."""

LINE = re.compile(r"( *)([^\s:#'\"][^:#'\"]*|'[^']*'|\"[^\"]*\")\s*:(?:\s+(.*))?")
"""A line of a mapping: indentation, key, value."""

COMMENT = re.compile(r"(^|\s)#.*$")

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "null": None, "~": None}
"""Values that are neither numbers nor texts, in lower case."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FommConfig:
    """What a checkpoint does not say of itself; the defaults are the First Order Motion Model's.

    image_size: side of the pictures, in px. temperature: of the keypoints' softmax. padding: of the keypoint and
    jacobian heads. heatmap_variance: of the keypoints' Gaussians. detector_scale, motion_scale: by what pictures are
    multiplied for keypoints and for motion, None if it is not said.
    """

    image_size: int = 256
    temperature: float = 0.1
    padding: int = 0
    heatmap_variance: float = 0.01
    detector_scale: float | None = None
    motion_scale: float | None = None


def read_config(path: Path) -> FommConfig:
    """Read one of FOMM's configs, such as vox-adv-256.yaml. Raises ConfigError that names what is wrong."""
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        values = parse_yaml(content.decode("utf-8-sig"))
        if "model_params" not in values:
            raise ValueError("it has no model_params, as configs of the First Order Motion Model have")
        model = _mapping(values, "model_params")
        detector, generator = (
            _mapping(model, "common_params") | _mapping(model, part)
            for part in ("kp_detector_params", "generator_params")
        )
        motion = _mapping(model, "common_params") | _mapping(generator, "dense_motion_params")
        defaults = FommConfig()
        return FommConfig(
            image_size=_side(_mapping(values, "dataset_params").get("frame_shape")) or defaults.image_size,
            temperature=_number(detector, "temperature", defaults.temperature),
            padding=_padding(detector),
            heatmap_variance=_number(motion, "kp_variance", defaults.heatmap_variance),
            detector_scale=_scale(detector),
            motion_scale=_scale(motion),
        )
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        reason = "it is not a text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(f"cannot read the config {path}: {reason}") from error


def parse_yaml(text: str) -> Values:
    """Read the part of YAML that FOMM's configs use: mappings by indentation, plain values and [lists] of them.

    Other values are kept as texts, and what belongs to a list of lines is left out. Raises ValueError that names the
    line.
    """
    root: Values = {}
    open_mappings: list[tuple[int, Values]] = [(-1, root)]
    waiting: tuple[int, Values, str] | None = None  # a key that may get a mapping in the next lines
    for number, raw in enumerate(text.splitlines(), start=1):
        line = COMMENT.sub("", raw).rstrip()
        if not line.strip() or line.strip() in ("---", "...") or line.lstrip().startswith("- "):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not understood: {raw.strip()[:60]!r}")
        indent, key, value = len(match[1]), match[2].strip("'\" "), match[3]
        if waiting is not None and indent > waiting[0]:
            inner: Values = {}
            waiting[1][waiting[2]] = inner
            open_mappings.append((waiting[0], inner))
        while len(open_mappings) > 1 and open_mappings[-1][0] >= indent:
            open_mappings.pop()
        mapping = open_mappings[-1][1]
        mapping[key] = None if value is None else _value(value.strip())
        waiting = (indent, mapping, key) if value is None else None
    return root


def _value(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return [_value(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def _mapping(values: Values, name: str) -> Values:
    found = values.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is not a mapping, but {found!r}")
    return found or {}


def _number(values: Values, name: str, default: float) -> float:
    found = values.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise ValueError(f"{name} must be a number above 0, found {found!r}")
    return float(found)


def _scale(values: Values) -> float | None:
    return _number(values, "scale_factor", 1.0) if "scale_factor" in values else None


def _padding(values: Values) -> int:
    found = values.get("pad", 0)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= 3:
        raise ValueError(f"pad must be a whole number from 0 to 3, found {found!r}")
    return found


def _side(shape: Any) -> int | None:
    """Return the side of square pictures; None if it is not said."""
    if shape is None:
        return None
    is_square = isinstance(shape, list) and len(shape) >= 2 and type(shape[0]) is int and shape[0] == shape[1] > 0
    if not is_square:
        raise ValueError(f"frame_shape must be that of square pictures, such as [256, 256, 3], found {shape!r}")
    return int(shape[0])
