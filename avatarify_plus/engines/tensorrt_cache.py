"""Built TensorRT engines on disk, each beside a JSON file that tells what it was built of and for. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from avatarify_plus.bundle import SHIPPED, WEIGHTS, Bundle, graph_file
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig

RECIPE = 1
"""Raise it when engines are built in another way: older ones are then built anew."""

PORTABLE = "portable"
"""The compute capability of engines that serve several: Ampere and later."""


@dataclass(frozen=True, slots=True)
class Identity:
    """All that an engine depends on: it stands in for no engine of another identity.

    model: SHA-256 of the ONNX file, or `weights_digest`. library: "tensorrt" or "tensorrt_rtx". capability: of the GPU,
    such as "8.6", or PORTABLE. gpu: the GPU's name for engines that serve no other, otherwise empty.
    """

    graph: str
    precision: str
    model: str
    library: str
    version: str
    capability: str
    gpu: str
    recipe: int = RECIPE


@dataclass(frozen=True, slots=True)
class Entry:
    """An engine in the cache.

    bundle: how `export/trt.py` is told of the model. tensors: our names to the engine's. sha256, size: the file's.
    """

    identity: Identity
    bundle: str
    tensors: dict[str, str]
    sha256: str
    size: int
    path: Path

    def read(self) -> bytes:
        """Return the engine. Raises EngineError if the file is gone or damaged."""
        try:
            blob = self.path.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read {self.path}: {error}; run {build_command(self.bundle)}") from error
        if hashlib.sha256(blob).hexdigest() != self.sha256:
            raise EngineError(f"{self.path} is damaged: run {build_command(self.bundle)}")
        return blob


class EngineCache:
    """A folder of engines. Nothing in it is trusted before its identity and its hash are compared."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or platformdirs.user_cache_path("avatarify_plus", appauthor=False) / "engines"

    def find(self, identity: Identity) -> Entry | None:
        """Return the whole and undamaged engine of an identity, if it is here."""
        for entry in self.entries():
            if entry.identity == identity:
                with contextlib.suppress(EngineError):
                    entry.read()
                    return entry
        return None

    def entries(self) -> Iterator[Entry]:
        """Yield all engines; what is no entry, or one of another program version, is passed over."""
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                values = json.loads(path.read_text(encoding="utf-8"))
                values["identity"] = Identity(**values["identity"])
                yield Entry(**values, path=path.with_suffix(".engine"))

    def store(self, identity: Identity, bundle: str, tensors: dict[str, str], blob: bytes) -> Entry:
        """Write an engine, whole or not at all. Raises EngineError if the folder cannot be written."""
        digest = hashlib.sha256(json.dumps(asdict(identity), sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{identity.graph}-{identity.precision}-{digest[:16]}.engine"
        entry = Entry(identity, bundle, tensors, hashlib.sha256(blob).hexdigest(), len(blob), path)
        values = {field.name: getattr(entry, field.name) for field in fields(entry) if field.name != "path"}
        described = json.dumps(values | {"identity": asdict(identity)}, indent=2) + "\n"
        replace_file(path, blob)
        replace_file(path.with_suffix(".json"), described.encode())  # last: without it the engine does not exist
        return entry


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part. Raises EngineError on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EngineError(f"cannot write {path}: {error}") from error


def weights_digest(sha256: str, config: NetworkConfig) -> str:
    """Return what identifies a model that is built without ONNX: the hash of its weights file, and its config."""
    values: dict[str, Any] = {"weights": sha256, "config": config.to_dict()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def model_digests(bundle: Bundle, graph: str, precision: str) -> tuple[str, ...]:
    """Return what `Identity.model` may be for a bundle's graph: of its ONNX file, if it has one, and of its weights."""
    file = graph_file(tensor_names.quantized(graph) if precision == "int8" else graph)
    known = [bundle.manifest.files[file]] if file in bundle.manifest.files else []
    return (*known, weights_digest(bundle.manifest.files[WEIGHTS], bundle.config))


def graph_precisions(config: NetworkConfig, precision: str) -> dict[str, str]:
    """Return what each graph is computed in when `animate` is computed in a precision.

    The others stay float32: `detect` would tremble, and `encode_source` is computed once per avatar.
    """
    return {graph: precision if graph == tensor_names.ANIMATE else "fp32" for graph in tensor_names.signatures(config)}


def bundle_argument(bundle: Bundle) -> str:
    """Return how a command line is told of a bundle."""
    return bundle.folder.name if bundle.folder.parent == SHIPPED else str(bundle.folder.resolve())


def build_command(bundle: str) -> str:
    """Return the command that builds a bundle's engines."""
    return f"python export/trt.py {bundle}"
