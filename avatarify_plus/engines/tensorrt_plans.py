"""Plans on disk, each beside a JSON file that says what it was built from and for. No torch.

A plan is TensorRT's word for a built engine file; our engines are what `open_engine` returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from avatarify_plus.bundle import SHIPPED, WEIGHTS, Bundle, graph_file
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.config import NetworkConfig
from avatarify_plus.program.user_folders import cache_folder
from avatarify_plus.program.whole_file import write_whole

RECIPE = 1
"""To be raised when plans are built in another way: older ones are then built again."""

PORTABLE = "portable"
"""The compute capability of plans that serve several: Ampere and later."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on: a plan is used for its own key only.

    model: SHA-256 of the ONNX file, or `weights_digest`. library: "tensorrt" or "tensorrt_rtx". capability: of the GPU,
    such as "8.6", or PORTABLE. gpu: the GPU's name for plans that run on no other, otherwise empty.
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
class CachedPlan:
    """A plan in the cache.

    bundle: how `export/trt.py` names the model. tensors: our names to the plan's. sha256: the file's, in hex. size:
    the file's, in bytes.
    """

    key: PlanKey
    bundle: str
    tensors: dict[str, str]
    sha256: str
    size: int
    path: Path

    def read(self) -> bytes:
        """Return the plan. Raises EngineError if the file is gone or damaged."""
        try:
            blob = self.path.read_bytes()
        except OSError as error:
            raise EngineError(f"cannot read {self.path}: {error}; run {build_command(self.bundle)}") from error
        if hashlib.sha256(blob).hexdigest() != self.sha256:
            raise EngineError(f"{self.path} is damaged: run {build_command(self.bundle)}")
        return blob


class PlanCache:
    """A folder of plans. A plan is used only after its key and its hash were compared.

    folder: by default in the user's cache folder. Raises EngineError for a user without one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            self.folder = folder or cache_folder() / "engines"
        except OSError as error:
            raise EngineError(f"engines of TensorRT cannot be kept: {error.strerror}") from error

    def find(self, key: PlanKey) -> CachedPlan | None:
        """Return the whole and undamaged plan of a key, if it is here."""
        for entry in self.entries():
            if entry.key == key:
                with contextlib.suppress(EngineError):
                    entry.read()
                    return entry
        return None

    def entries(self) -> Iterator[CachedPlan]:
        """Yield all plans; files of other kinds or of other versions of this program are passed over.

        Raises EngineError if others may write there: a plan is code, and whoever can put one there can run it.
        """
        _require_private(self.folder)
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                values = json.loads(path.read_text(encoding="utf-8"))
                values["key"] = PlanKey(**values["key"])
                yield CachedPlan(**values, path=path.with_suffix(".engine"))

    def store(self, key: PlanKey, bundle: str, tensors: dict[str, str], blob: bytes) -> CachedPlan:
        """Write a plan, whole or not at all. Raises EngineError if the folder cannot be written."""
        digest = hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{key.graph}-{key.precision}-{digest[:16]}.engine"
        entry = CachedPlan(key, bundle, tensors, hashlib.sha256(blob).hexdigest(), len(blob), path)
        values = {field.name: getattr(entry, field.name) for field in fields(entry) if field.name != "path"}
        described = json.dumps(values | {"key": asdict(key)}, indent=2) + "\n"
        write_file(path, blob)
        write_file(path.with_suffix(".json"), described)  # last: without it the plan does not exist
        return entry


def _require_private(folder: Path) -> None:
    """Raise EngineError if everybody may write into a folder, or if it is somebody else's.

    A group may: on many systems each user has one of his own.
    """
    if os.name == "nt" or not folder.is_dir():  # Windows keeps others out of a user's folders by other means
        return
    status = folder.stat()
    if status.st_mode & stat.S_IWOTH or status.st_uid not in (0, os.geteuid()):
        raise EngineError(f"others may write into {folder}, so its engines are not used: chmod o-w it, or own it")


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all, in a folder that need not exist. Raises EngineError on failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise EngineError(f"cannot write {path}: {error}") from error


def weights_digest(sha256: str, config: NetworkConfig) -> str:
    """Return what identifies a model that is built without ONNX: a hash of its weights' SHA-256 and its config."""
    values: dict[str, Any] = {"weights": sha256, "config": config.to_dict()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def model_digests(bundle: Bundle, graph: str, precision: str) -> tuple[str, ...]:
    """Return what `PlanKey.model` may be for a bundle's graph: by its ONNX file, if any, and by its weights."""
    file = graph_file(tensor_names.quantized(graph) if precision == "int8" else graph)
    known = [bundle.manifest.files[file]] if file in bundle.manifest.files else []
    return (*known, weights_digest(bundle.manifest.files[WEIGHTS], bundle.config))


def graph_precisions(config: NetworkConfig, precision: str) -> dict[str, str]:
    """Return what each graph is computed in when `animate` is computed in a precision.

    Painters follow it, but for int8, where they are float16. The others stay float32: rounding would make `detect`
    tremble, and `encode_source` is computed once per avatar.
    """
    steady = dict.fromkeys((tensor_names.DETECT, tensor_names.ENCODE_SOURCE), "fp32")
    painters = dict.fromkeys(map(tensor_names.paint, tensor_names.PAINTED_PARTS), "fp16")
    known = steady | {tensor_names.ANIMATE: precision} | (painters if precision == "int8" else {})
    return {graph: known.get(graph, precision) for graph in tensor_names.signatures(config)}


def bundle_argument(bundle: Bundle) -> str:
    """Return how a command line names a bundle: a shipped model's name, or the folder."""
    return bundle.folder.name if bundle.folder.parent == SHIPPED else str(bundle.folder.resolve())


def build_command(bundle: str) -> str:
    """Return the command that builds a bundle's plans."""
    return f"python export/trt.py {bundle}"
