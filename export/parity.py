"""Compare what each engine makes of a model with PyTorch, on one source and one driving picture."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.engines.engine import PartSquares, Source
from avatarify_plus.engines.photo_engine import PhotoEngine, cut_squares, draw_squares
from avatarify_plus.errors import EngineError, SourceError
from avatarify_plus.face.contours import contour_points, part_squares
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.motion.keypoints import join_keypoints, keypoints_from_mesh, load_mesh_layout, with_points
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.pictures.images import centred_square, crop, load_photo
from avatarify_plus.program.command_line import (
    STDOUT,
    ProgramParser,
    add_json_option,
    add_model_argument,
    configure_logging,
    require_json_file,
    run_program,
    write_json,
)
from avatarify_plus.program.examples import example
from avatarify_plus.types import FloatArray, Image, Keypoints, Mask

# isort: split
import numpy as np

CANDIDATES: tuple[tuple[EngineName, Precision], ...] = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("torch-cuda", "fp32"),
    ("torch-cuda", "bf16"),
    ("torch-cuda", "fp16"),
    ("onnxruntime-cuda", "fp32"),
    ("onnxruntime-directml", "fp32"),
    ("onnxruntime-coreml", "fp32"),
    ("tensorrt", "fp32"),
    ("tensorrt", "fp16"),
    ("tensorrt", "int8"),
)
"""Engines and precisions to compare; the first is what the others are compared with."""

TIMED_FRAMES = 30
"""How many frames each engine is timed over; the fastest counts."""


class Pair(NamedTuple):
    """Two (S, S, 3) uint8 RGB pictures and their keypoints; `complete` adds to those of the mesh what else there is.

    source_points, driving_points: for models that read contours, the points that these are drawn from.
    """

    source: Image
    driving: Image
    source_keypoints: Keypoints | None
    driving_keypoints: Keypoints | None
    source_points: FloatArray | None = None
    driving_points: FloatArray | None = None


class EngineOutput(NamedTuple):
    """What one engine made of a pair.

    detected: the driving picture's learned keypoints, None for models that take theirs from the mesh. frame_ms: the
    shortest time of `animate`. inner: of models with `photo_reach`, the layers of the picture and the painted squares,
    by name.
    """

    image: Image
    detected: Keypoints | None
    frame_ms: float
    inner: dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> None:
    parser = ProgramParser(
        prog="python export/parity.py", description=__doc__, examples=("python export/parity.py live-512",)
    )
    add_model_argument(parser)
    for role, name in (("source", "avatar_1.jpg"), ("driving", "avatar_2.jpg")):
        parser.add_argument(
            f"--{role}", type=Path, metavar="PHOTO", default=example(name), help="picture (default: %(default)s)"
        )
    parser.add_argument("--threads", type=int, help="CPU threads (default: the runtime's choice)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads must be at least 1, found {options.threads}")
    configure_logging(options.verbose)
    require_json_file(options.json)
    bundle = open_bundle(options.model)
    pair = load_pair(bundle, options.source, options.driving)
    progress = sys.stderr if options.json == STDOUT else sys.stdout
    write_json(print_table(bundle, pair, options.threads, progress), options.json)


def load_pair(bundle: Bundle, source: Path, driving: Path) -> Pair:
    """Read both pictures' middle squares and, for models that read the mesh, its keypoints.

    Raises SourceError if a picture cannot be read or shows no face.
    """
    size = bundle.config.image_size
    first, second = (crop(photo, centred_square(photo), size) for photo in map(load_photo, (source, driving)))
    if not bundle.config.reads_mesh:
        return Pair(first, second, None, None)
    layout = load_mesh_layout(bundle.config.mesh_layout)
    with FaceMesh(tracking=False) as mesh:
        landmarks = [mesh.find(image) for image in (first, second)]
    found = [None if face is None else keypoints_from_mesh(face, layout) for face in landmarks]
    for path, keypoints in zip((source, driving), found, strict=True):
        if keypoints is None:
            raise SourceError(f"model {bundle.manifest.name} needs a face, {path} shows none: choose another picture")
    pair = Pair(first, second, found[0], found[1])
    if not bundle.config.reads_contours:
        return pair
    points = [contour_points(face) * 2 - 1 for face in landmarks if face is not None]
    return pair._replace(source_points=points[0], driving_points=points[1])


def run_pair(engine: Engine, pair: Pair) -> EngineOutput:
    """Detect, encode and animate with the pair's keypoints, which must be complete."""
    assert pair.source_keypoints is not None and pair.driving_keypoints is not None
    detected = engine.detect(pair.driving) if engine.config.detected_count else None
    source = engine.encode_source(pair.source, pair.source_keypoints)
    image = engine.animate(source, pair.driving_keypoints)
    durations = []
    for _ in range(TIMED_FRAMES):
        start = time.perf_counter()
        engine.animate(source, pair.driving_keypoints)
        durations.append(time.perf_counter() - start)
    return EngineOutput(image, detected, min(durations) * 1000, inner_outputs(engine, source, pair))


def inner_outputs(engine: Engine, source: Source, pair: Pair) -> dict[str, Any]:
    """Return what the graphs of a model with `photo_reach` return, by name; all engines paint the same squares."""
    if not isinstance(engine, PhotoEngine):
        return {}
    assert pair.driving_keypoints is not None
    layers = engine.runtime.animate(source, pair.driving_keypoints)._asdict()
    return layers | {part: engine.runtime.paint(part, squares) for part, squares in squares_of(pair, engine.config)}


def squares_of(pair: Pair, config: NetworkConfig) -> list[tuple[str, PartSquares]]:
    """Return the parts that a model paints with a pair's squares: the driving picture's are given."""
    if not config.part_width:
        return []
    assert pair.source_points is not None and pair.driving_points is not None
    sides = ((pair.driving, pair.driving_points), (pair.source, pair.source_points))
    return [
        (part, PartSquares(*(array for side in sides for array in _cut_part(part, *side))))
        for part in tensor_names.PAINTED_PARTS
    ]


def _cut_part(part: str, picture: Image, points: FloatArray) -> tuple[Image, Mask]:
    squares = part_squares(points)
    return cut_squares(part, picture, squares, picture.shape[0]), draw_squares(part, points, squares)


def print_table(bundle: Bundle, pair: Pair, threads: int | None, progress: TextIO) -> dict[str, dict[str, Any]]:
    """Print one line per engine, and return what they say by engine and precision, JSON-ready.

    All animate with PyTorch's keypoints, so that differences do not add up. progress: gets the lines. Raises
    EngineError if PyTorch, which the others are compared with, is not there.
    """
    title = (
        f"{bundle.manifest.name}: differences to torch in fp32; pictures in levels of 255, "
        "keypoints and deformation in picture halves"
    )
    inner = inner_names(bundle.config)
    columns = "".join(f" {f'{name} max':>{len(name) + 5}}" for name in inner)
    head = (
        f"{'engine':25} {'image max':>9} {'mean':>8} {'value max':>10} {'jacobian max':>12}"
        f"{columns} {'animate ms':>10}  device"
    )
    print(f"{title}\n{head}", file=progress)
    found: dict[str, dict[str, Any]] = {}
    expected: EngineOutput | None = None
    for name, precision in CANDIDATES:
        label = f"{name} {precision}"
        try:
            with open_engine(bundle, name, threads, precision) as engine:
                if expected is None:
                    pair = complete(pair, engine)
                result, device = run_pair(engine, pair), engine.device
        except EngineError as error:
            if expected is None:
                raise
            print(f"{label:25} not available: {error}", file=progress)
            found[label] = {"missing": str(error)}
            continue
        expected = expected or result
        difference = np.abs(result.image.astype(np.int16) - expected.image)
        largest = {part: _largest(result.detected, expected.detected, part) for part in ("value", "jacobian")}
        value, jacobian = ("-" if number is None else f"{number:.2g}" for number in largest.values())
        inside = {name: _distance(result.inner[name], expected.inner[name]) for name in inner}
        columns = "".join(f" {number:>{len(name) + 5}.2g}" for name, number in inside.items())
        print(
            f"{label:25} {difference.max():9d} {difference.mean():8.4f} "
            f"{value:>10} {jacobian:>12}{columns} {result.frame_ms:10.1f}  {device}",
            file=progress,
            flush=True,
        )
        found[label] = {"image_max": int(difference.max()), "image_mean": float(difference.mean()), "device": device}
        found[label] |= {"animate_ms": result.frame_ms}
        found[label] |= {f"{part}_max": number for part, number in (largest | inside).items()}
    return found


def inner_names(config: NetworkConfig) -> tuple[str, ...]:
    """Return the names of what `inner_outputs` returns for a model."""
    layers = (tensor_names.PAINTED, tensor_names.KEPT, tensor_names.DEFORMATION) if config.photo_reach else ()
    return (*layers, *(tensor_names.PAINTED_PARTS if config.part_width else ()))


def complete(pair: Pair, engine: Engine) -> Pair:
    """Return a pair with the keypoints that the engine detects, if any, and then the points of contours, if any."""
    source, driving = pair.source_keypoints, pair.driving_keypoints
    if engine.config.detected_count:
        found = [engine.detect(image) for image in (pair.source, pair.driving)]
        source, driving = (
            detected if mesh is None else join_keypoints(mesh, detected)
            for mesh, detected in zip((source, driving), found, strict=True)
        )
    if pair.source_points is not None and pair.driving_points is not None:
        assert source is not None and driving is not None, "contours come with a mesh"
        source, driving = with_points(source, pair.source_points), with_points(driving, pair.driving_points)
    return pair._replace(source_keypoints=source, driving_keypoints=driving)


def _distance(found: Any, expected: Any) -> float:
    """Return the largest difference of two arrays."""
    return float(np.abs(found.astype(np.float64) - expected).max())


def _largest(found: Keypoints | None, expected: Keypoints | None, part: str) -> float | None:
    """Return the largest difference of a part of the keypoints, None for mesh models."""
    if found is None or expected is None:
        return None
    return _distance(getattr(found, part), getattr(expected, part))


if __name__ == "__main__":
    sys.exit(main())
