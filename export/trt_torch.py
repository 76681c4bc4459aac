"""Build engines from the weights themselves with Torch-TensorRT, on the GPU that will run them."""

from __future__ import annotations

import hashlib
import importlib
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avatarify_plus.bundle import WEIGHTS, open_bundle
from avatarify_plus.engines.tensorrt_library import RTX, TENSORRT, load_library
from avatarify_plus.engines.tensorrt_plans import bundle_argument, weights_digest
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.weights import write_weights
from export.onnx_bundle import check_inputs, load, noise_picture
from export.trt_builder import Built, TargetGpu, require_own_gpu

INSTALL = "pip install a CUDA build of torch 2.13, and torch-tensorrt==2.13.0"


class TorchBuilder:
    """Builds with the library that Torch-TensorRT was made for. See `Builder`."""

    def __init__(self, checkpoint: str, gpu: TargetGpu, capability: str | None, workspace_mb: int | None) -> None:
        """Prepare to build from a bundle's weights or from a training checkpoint, for the GPU here.

        Raises ModelError if it is neither, and EngineError if Torch-TensorRT or the GPU is not there.
        """
        model, _ = load(checkpoint)
        require_own_gpu("Torch-TensorRT", gpu, capability)
        if not torch.cuda.is_available():
            raise EngineError(f"torch {torch.__version__} does not find {gpu.name}: install its CUDA build")
        compiler = load_compiler()
        self.model, sha256 = identify(checkpoint, model)
        self.config = model.config
        self.precisions: tuple[str, ...] = ("fp16",)
        self.library = load_library(RTX if compiler.ENABLED_FEATURES.tensorrt_rtx else TENSORRT)
        self.capability = gpu.capability
        self.gpu = "" if self.library.name == RTX else gpu.name
        self._digest = weights_digest(sha256, model.config)
        self._network = model
        self._compiler = compiler
        self._workspace_mb = workspace_mb
        _convert_uint8(compiler.dynamo.conversion, self.library.api)

    def digest(self, graph: str, precision: str) -> str:
        """See `Builder.digest`."""
        return self._digest

    def build(self, graph: str, precision: str) -> Built:
        """See `Builder.build`; there is no int8."""
        start = time.perf_counter()
        signature = tensor_names.signatures(self.config)[graph]
        graphs = build_graphs(self._network)
        examples = check_inputs(graphs, self.config, noise_picture)[graph]
        inputs = tuple(examples[name].cuda() for name in signature.inputs)
        program = export_program(graphs[graph].cuda(), inputs, precision)
        exported = time.perf_counter()
        try:
            blob = self._compiler.dynamo.convert_exported_program_to_serialized_trt_engine(
                program,
                inputs=list(inputs),
                disable_tf32=True,  # where float32 is wanted, TF32 is too coarse
                workspace_size=0 if self._workspace_mb is None else self._workspace_mb << 20,
            )
        except RuntimeError as error:
            raise EngineError(f"Torch-TensorRT cannot convert {graph}: {str(error).splitlines()[0]}") from error
        tensors = dict(zip(signature.inputs, program.graph_signature.user_inputs, strict=True))
        tensors |= {name: f"output{index}" for index, name in enumerate(signature.outputs)}
        return Built(blob, tensors, exported - start, time.perf_counter() - exported)


def load_compiler() -> Any:
    """Import Torch-TensorRT. Raises EngineError if it is not there."""
    try:
        torch_tensorrt = importlib.import_module("torch_tensorrt")
    except Exception as error:  # without a GPU it raises many kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise EngineError(f"Torch-TensorRT cannot be loaded ({reason}): {INSTALL}") from error
    logging.getLogger("torch_tensorrt").setLevel(logging.CRITICAL)  # what it raises says the same, in one line
    return torch_tensorrt


def identify(checkpoint: str, model: AnimationModel) -> tuple[str, str]:
    """Return how a command line names a model, and the SHA-256 of its weights file, as its bundle has it.

    So an engine that was built from a training checkpoint serves the bundle that is exported from it.
    """
    if not Path(checkpoint).is_file():
        bundle = open_bundle(checkpoint)
        return bundle_argument(bundle), bundle.manifest.files[WEIGHTS]
    with tempfile.TemporaryDirectory() as folder:
        write_weights(model, Path(folder) / WEIGHTS)
        return checkpoint, hashlib.sha256((Path(folder) / WEIGHTS).read_bytes()).hexdigest()


def export_program(graph: nn.Module, inputs: tuple[Tensor, ...], precision: str) -> torch.export.ExportedProgram:
    """Trace a graph; with "fp16" its convolutions and normalisations become float16 and cast their inputs.

    The network itself computes its warps, their coordinates and its last steps in float32, for mixed training.
    """
    if precision == "fp16":
        for module in graph.modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
                module.half().register_forward_pre_hook(_halve_inputs)
    with torch.no_grad(), warnings.catch_warnings():
        # torch 2.13 warns about its own use of LeafSpec.
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        return torch.export.export(graph, inputs)


def _halve_inputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.half() for tensor in inputs)


def _convert_uint8(conversion: Any, api: Any) -> None:
    """Register a converter of the cast to uint8, which TensorRT has and Torch-TensorRT's converters leave out."""

    def is_cast_to_uint8(node: Any, settings: Any = None) -> bool:
        return node.kwargs.get("dtype") is torch.uint8

    def convert(context: Any, target: Any, arguments: Any, options: Any, name: str) -> Any:
        layer = context.net.add_cast(arguments[0], api.DataType.UINT8)
        layer.name = name
        return layer.get_output(0)

    conversion.dynamo_tensorrt_converter(
        torch.ops.aten._to_copy.default,
        capability_validator=is_cast_to_uint8,
        priority=conversion.ConverterPriority.HIGH,
    )(convert)
