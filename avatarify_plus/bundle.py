"""A model on disk: a folder of graphs and weights, with a manifest that describes and fingerprints them. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.network.onnx_file import read_graph
from avatarify_plus.network.tensor_names import quantized, signatures, tensors
from avatarify_plus.program.user_folders import data_folder
from avatarify_plus.program.whole_file import write_whole

FORMAT_VERSION = 2
"""The newest format; see `format_of`."""

NEW_FIELDS = ("photo_reach", "contour_width", "part_width", "detector_padding")
"""The fields of the network's config that format 1 does not know."""

OPSET = 18
"""The ONNX opset; TensorRT and ONNX Runtime's CUDA kernels compute GridSample wrongly at 20."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
ADAPTED, FOR_ONE_FACE = "adapted", "for_one_face"
"""The entry of a manifest's `training` that says what an adapted model was made from; and in it, whether other
faces than the one it was adapted to look worse."""

SHIPPED = Path(__file__).resolve().parent / "models"

MAX_MANIFEST_BYTES = 1 << 20
"""The shipped models' manifests have 11 kB; there is no more than this to read before anything is known of a model."""

MAX_FILES, MAX_BYTES = 64, 4 << 30
"""How many files a bundle may list, and their size together: all of them are read to hash them."""

MAX_DEPTH = 100
"""How deep values may lie in each other: what a model started from is told of all its ancestors."""

MAX_TEXT = 10_000
"""The longest text in a manifest, in characters."""

MAX_NAME = 100
"""The longest name of a file, in characters."""

SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is, how it was made and what its files must hash to.

    files: file name to SHA-256 in hex; it and format_version are filled in by `write_manifest`. training (data, steps,
    samples) and metrics are free-form, JSON-ready. revision: the source code's git revision.
    """

    name: str
    network: NetworkConfig
    opset: int = OPSET
    files: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    revision: str = "unknown"
    licence: str = "MIT"
    intended_use: str = "Animating your own portrait, or that of a person who agreed to it, in video calls."
    format_version: int = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle; the files that are there were verified."""

    folder: Path
    manifest: Manifest

    @property
    def config(self) -> NetworkConfig:
        """The network's config."""
        return self.manifest.network

    @property
    def is_for_one_face(self) -> bool:
        """Whether the model was adapted to one face, and others look worse with it."""
        about = self.manifest.training.get(ADAPTED)
        return isinstance(about, dict) and about.get(FOR_ONE_FACE) is True

    @property
    def weights(self) -> Path:
        """The safetensors file, which only PyTorch and training read. Raises ModelError if this copy is without it."""
        path = self.folder / WEIGHTS
        if not path.is_file():
            raise ModelError(
                f"model {self.manifest.name} lacks {path}, which installed copies leave out: "
                "copy it from the model's folder in the project's source"
            )
        return path

    def has_graph(self, name: str) -> bool:
        """Whether the bundle has a graph, such as "animate-int8"."""
        return graph_file(name) in self.manifest.files

    def graph(self, name: str) -> Path:
        """Return the path of a graph, such as "animate".

        Raises ModelError if this bundle has none of that name, or if the graph does not fit the network's config or
        asks for more than computing: see `onnx_file.read_graph`.
        """
        file = graph_file(name)
        if file not in self.manifest.files:
            graphs = ", ".join(sorted(other for other in self.manifest.files if other.endswith(".onnx")))
            raise ModelError(f"model {self.manifest.name} has no graph {file}: it has {graphs}")
        _require_fitting(self.folder / file, name, self.config)
        return self.folder / file


def graph_file(name: str) -> str:
    """Return the file name of a graph."""
    return f"{name}.onnx"


def open_bundle(path_or_name: str | Path) -> Bundle:
    """Open a model folder, or a shipped model or one of the user's own by its name, and verify every file's hash.

    The weights may be missing, see `Bundle.weights`. Raises ModelError if the model or another file is missing, or if
    it is damaged or of another format version.
    """
    try:
        return _open(_locate(path_or_name))
    except OSError as error:  # no permission, or a name that no file can have
        raise ModelError(f"cannot read the model {str(path_or_name)!r}: {error.strerror or error}") from error


def _open(folder: Path) -> Bundle:
    manifest = _parse_manifest(folder / MANIFEST)
    for name in (WEIGHTS, *map(graph_file, signatures(manifest.network))):
        if name not in manifest.files:
            raise ModelError(f"{folder / MANIFEST} does not list {name}, which its network needs: export it again")
    present = {name: folder / name for name in manifest.files if name != WEIGHTS or (folder / name).exists()}
    for path in present.values():
        if not path.is_file():
            raise ModelError(f"model {manifest.name} lacks {path}: fetch or export it again")
    if (total := sum(path.stat().st_size for path in present.values())) > MAX_BYTES:
        found_gb, most_gb = (f"{size / 1e9:.1f}" for size in (total, MAX_BYTES))
        raise ModelError(f"model {manifest.name} has {found_gb} GB, more than {most_gb}: do not use it")
    for name, path in present.items():
        found, expected = _sha256(path), manifest.files[name]
        if found != expected:
            raise ModelError(
                f"{path} is damaged: its SHA-256 should be {expected[:12]}..., found {found[:12]}...: "
                "fetch or export it again"
            )
    return Bundle(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest, without: Collection[str] = ()) -> Manifest:
    """Fill in the hashes of all files in the folder, write the manifest there and return it. Raises OSError.

    without: names of files that are not listed, nor are hidden ones. Weights that this copy leaves out stay listed as
    they are in the manifest, see `Bundle.weights`.
    """
    found = (path.name for path in folder.iterdir() if path.is_file())
    names = sorted(name for name in found if name not in (MANIFEST, *without) and not name.startswith("."))
    left_out = {name: digest for name, digest in manifest.files.items() if name == WEIGHTS and name not in names}
    files = {name: _sha256(folder / name) for name in names} | left_out
    complete = replace(manifest, files=files, format_version=format_of(manifest.network))
    values = asdict(complete)
    if complete.format_version == 1:  # older programs read it and know no other fields
        values["network"] = {name: value for name, value in values["network"].items() if name not in NEW_FIELDS}
    write_whole(folder / MANIFEST, json.dumps(values, indent=2) + "\n")
    return complete


def format_of(network: NetworkConfig) -> int:
    """Return the oldest format that can say what a network is, so that older programs read what they can compute."""
    return FORMAT_VERSION if any(getattr(network, name) for name in NEW_FIELDS) else 1


def describe(bundle: Bundle) -> str:
    """Return a few lines for people: what the model is, how good it is, and what it may be used for."""
    manifest, config = bundle.manifest, bundle.config
    origins = {
        "learned": "its own detector",
        "mesh": f"the face mesh ({config.mesh_layout})",
        "both": f"the face mesh ({config.mesh_layout}), {config.learned_count} of them its own detector's",
    }
    lines = [
        f"{manifest.name}: {config.preset} ({config.size}), {config.image_size} px, "
        f"{'the photo in its own size, ' if config.photo_reach else ''}"
        f"{config.keypoint_count} keypoints from {origins[config.keypoints]}",
        f"folder: {bundle.folder}",
        f"files: {', '.join(f'{name} {_size(bundle.folder / name)}' for name in manifest.files)}",
    ]
    for title, values in (("training", manifest.training), ("metrics", manifest.metrics)):
        if values:
            lines.append(f"{title}: {', '.join(f'{key} {value}' for key, value in values.items())}")
    lines += [f"revision: {manifest.revision}", f"licence: {manifest.licence}", f"use: {manifest.intended_use}"]
    return "\n".join(lines)


def own_models_folder() -> Path:
    """Return the folder of the user's own models. Raises FileNotFoundError for a user without a home."""
    return data_folder() / "models"


def _locate(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if isinstance(path_or_name, str) and path.name == path_or_name:  # a bare name
        for folder in _named_models():
            if (folder / path / MANIFEST).is_file():
                return folder / path
    if (path / MANIFEST).is_file():
        return path
    if path.is_dir():
        raise ModelError(f"{path} is not a model: the folder has no {MANIFEST}")
    known = [sorted(file.parent.name for file in folder.glob(f"*/{MANIFEST}")) for folder in _named_models()]
    own = f", one of your own ({', '.join(known[1])})" if any(known[1:]) else ""
    raise ModelError(
        f"no model {str(path_or_name)!r}: give a model's folder{own} or a shipped model "
        f"({', '.join(known[0]) or 'none'})"
    )


def _named_models() -> list[Path]:
    """Return the folders whose models are known by their names: the shipped ones before the user's own."""
    try:
        return [SHIPPED, own_models_folder()]
    except (FileNotFoundError, ModuleNotFoundError):  # a machine with nothing but torch has no user's models
        return [SHIPPED]


def _parse_manifest(path: Path) -> Manifest:
    try:
        values = json.loads(_read_manifest(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    except RecursionError as error:
        raise ModelError(f"{path} is not a model manifest: its values lie too deep in each other") from error
    if not isinstance(values, dict) or "format_version" not in values:
        raise ModelError(f"{path} is not a model manifest: it has no format_version")
    _require_plain(values, path)
    version = values["format_version"]
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelError(
            f"{path} has format version {version!r}, this program reads 1 to {FORMAT_VERSION}: "
            "update the program or export the model again"
        )
    known = {entry.name for entry in fields(Manifest)}
    unknown, missing = sorted(set(values) - known), sorted(known - set(values))
    if unknown or missing:
        found = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"missing {', '.join(missing)}"] * bool(missing)
        raise ModelError(f"{path} has wrong fields ({'; '.join(found)}): export the model again")
    if not isinstance(values["files"], dict) or not isinstance(values["network"], dict):
        raise ModelError(f"{path}: files and network must be objects: export the model again")
    for kind, what, names in (
        (str, "a text", ("name", "revision", "licence", "intended_use")),
        (dict, "an object", ("training", "metrics")),
        (int, "a whole number", ("opset",)),
    ):
        for name in names:
            if type(values[name]) is not kind:
                raise ModelError(f"{path}: {name} must be {what}: export the model again")
    _require_files(values["files"], path)
    try:
        network = NetworkConfig.from_dict(values["network"])
    except ConfigError as error:
        raise ModelError(f"{path} does not hold a valid network config: {error}") from error
    return Manifest(**(values | {"network": network}))


def _read_manifest(path: Path) -> bytes:
    """Return a file's content. Raises OSError, and ValueError if it is no file or too large."""
    # A pipe that nobody writes to would otherwise be waited for.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a file but a pipe or a device")
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"it has more than {MAX_MANIFEST_BYTES} bytes, which no manifest has")
    return content


def _require_plain(value: Any, path: Path, depth: int = 0) -> None:
    """Raise ModelError unless texts can be shown in a line, and values do not lie too deep in each other.

    What a manifest says is printed, and a terminal obeys some characters.
    """
    if depth > MAX_DEPTH:
        raise ModelError(f"{path} is not a model manifest: its values lie too deep in each other")
    if isinstance(value, str):
        if not value.isprintable() or len(value) > MAX_TEXT:
            raise ModelError(f"{path} holds a text that cannot be shown, {value[:40]!a}: export the model again")
    elif isinstance(value, (dict, list)):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _require_plain(part, path, depth + 1)


def _require_files(files: dict[str, Any], path: Path) -> None:
    """Raise ModelError unless these are plain file names with their SHA-256."""
    if len(files) > MAX_FILES:
        raise ModelError(f"{path} lists {len(files)} files, more than {MAX_FILES}: do not use this model")
    for name, digest in files.items():
        if Path(name).name != name or not 0 < len(name) <= MAX_NAME or "\\" in name or name == MANIFEST:
            raise ModelError(f"{path} lists {name!r}, not a plain file name: do not use this model")
        if not (isinstance(digest, str) and SHA256.fullmatch(digest)):
            raise ModelError(f"{path} gives no SHA-256 (64 hex digits) for {name}: export the model again")


def _require_fitting(path: Path, name: str, config: NetworkConfig) -> None:
    """Raise ModelError unless a graph has the inputs and outputs that the config says."""
    found = read_graph(path)
    signature, wanted = signatures(config)[name.removesuffix(quantized(""))], tensors(name, config)
    for kind, own, names in (("input", found.inputs, signature.inputs), ("output", found.outputs, signature.outputs)):
        odd = sorted(set(own) ^ set(names))
        if odd:
            problem = "lacks" if odd[0] in names else "has an unknown"
            raise ModelError(
                f"{path} does not fit its manifest: it {problem} {kind} {odd[0]!a}: export the model again"
            )
        for entry in names:
            if own[entry] != wanted[entry]:
                raise ModelError(
                    f"{path} does not fit its manifest: {kind} {entry} should be {wanted[entry]}, found {own[entry]}: "
                    "export the model again"
                )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "(not in this copy)"
