"""Build TensorRT engines of a model: for the GPU here or, with TensorRT for RTX, for any and without one."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script

from avatarify_plus.bundle import open_bundle
from avatarify_plus.engines.cuda import GPU_REQUIREMENTS, Cuda
from avatarify_plus.engines.engine import require_precision
from avatarify_plus.engines.tensorrt_library import INSTALL_HINT, RTX, TENSORRT, load_library
from avatarify_plus.engines.tensorrt_plans import PORTABLE, PlanCache, PlanKey, graph_precisions
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import DONE, INTERRUPTED, print_error
from avatarify_plus.program.model_option import MODEL_HELP, SHIPPED_MODEL
from export.trt_builder import Builder, TargetGpu

BACKENDS = {"tensorrt": TENSORRT, "tensorrt-rtx": RTX, "torch-tensorrt": "torch_tensorrt"}
"""The module of each backend, in the order in which "auto" looks for them."""

NEED_ONNX = "pip install 'onnx>=1.17,<1.20' 'protobuf<5'"
NEED_TORCH = "pip install -r requirements-train.txt"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_program(lambda: _main(arguments))


def _main(arguments: list[str] | None) -> int:
    parser = ProgramParser(
        prog="python export/trt.py",
        description=__doc__,
        examples=("python export/trt.py", "python export/trt.py models/mine --compute-capability 8.6"),
    )
    parser.add_argument(
        "model",
        metavar="BUNDLE",
        nargs="?",
        default=SHIPPED_MODEL,
        help=f"{MODEL_HELP} or, for torch-tensorrt, a training checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="auto is the first of them that is installed"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("fp32", "fp16", "int8"),
        help="what frames are computed in, one or several (default: fp16, and int8 if the bundle has it)",
    )
    parser.add_argument(
        "--compute-capability",
        type=parse_capability,
        metavar="X.Y",
        help=f"GPUs to build for with tensorrt-rtx, such as 8.6, or {PORTABLE} for Ampere and later "
        f"(default: that of the GPU here, without one {PORTABLE})",
    )
    parser.add_argument("--gpu", type=int, default=0, metavar="NUMBER", help="which GPU, counted from 0 (default: 0)")
    parser.add_argument("--workspace", type=int, metavar="MB", help="GPU memory that one layer may use (default: all)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where engines are kept (default: per user)")
    parser.add_argument(
        "--force", action=argparse.BooleanOptionalAction, default=False, help="build again what is there"
    )
    options = parser.parse_args(arguments)
    if options.workspace is not None and options.workspace < 1:
        parser.error(f"--workspace must be at least 1 MB, found {options.workspace}")
    configure_logging(options.verbose)
    gpu, cache = find_gpu(options.gpu), PlanCache(options.cache)
    builder = open_builder(options, gpu)
    try:
        build_engines(builder, cache, options.precision or builder.precisions, options.force)
    except KeyboardInterrupt:
        print_error("stopped; what was finished is kept")
        return INTERRUPTED
    print(usage(builder, gpu, cache))
    return DONE


def parse_capability(text: str) -> str:
    """Return a compute capability as `PlanKey` has it."""
    if text != PORTABLE and not re.fullmatch(r"\d+\.\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither like 8.6 nor {PORTABLE}")
    return text


def find_gpu(number: int = 0) -> TargetGpu:
    """Return a GPU by its place in CUDA's order, or why there is none; engines are built on it from then on."""
    try:
        cuda = Cuda(number)
    except EngineError as error:
        return TargetGpu("", "", str(error))
    cuda.close()
    return TargetGpu(cuda.name, cuda.capability)


def open_builder(options: argparse.Namespace, gpu: TargetGpu) -> Builder:
    """Return the builder that the options ask for. Raises an AvatarifyError if something is missing or impossible."""
    backend = first_installed() if options.backend == "auto" else options.backend
    precisions = options.precision or ()
    if backend == "torch-tensorrt":
        if "int8" in precisions:
            raise EngineError(
                "torch-tensorrt builds fp32 and fp16: int8 is built from a bundle's quantized ONNX file, with "
                "--backend tensorrt or tensorrt-rtx"
            )
        try:
            from export.trt_torch import TorchBuilder
        except ImportError as error:
            raise EngineError(f"backend torch-tensorrt cannot be loaded ({error}): {NEED_TORCH}") from error
        return TorchBuilder(options.model, gpu, options.compute_capability, options.workspace)
    library = load_library(BACKENDS[backend])
    if Path(options.model).is_file():
        raise ModelError(
            f"{options.model} is not a bundle: make one with python export/onnx_bundle.py, or build with "
            "--backend torch-tensorrt"
        )
    bundle = open_bundle(options.model)
    for precision in precisions:
        require_precision(backend, precision, ("fp32", "fp16", "int8"), bundle)
    try:
        from export.trt_onnx import OnnxBuilder
    except ImportError as error:
        raise EngineError(f"ONNX files cannot be read ({error}): {NEED_ONNX}") from error
    return OnnxBuilder(bundle, library, gpu, options.compute_capability, options.workspace)


def first_installed() -> str:
    """Return the first backend that is installed. Raises EngineError if none is."""
    for name, module in BACKENDS.items():
        if importlib.util.find_spec(module) is not None:
            return name
    raise EngineError(f"no TensorRT is installed: {INSTALL_HINT}")


def build_engines(builder: Builder, cache: PlanCache, precisions: Sequence[str], is_forced: bool) -> None:
    """Build what the cache lacks, and print a line for each engine."""
    where = "GPUs from Ampere on" if builder.capability == PORTABLE else f"compute capability {builder.capability}"
    print(f"{builder.model} with {builder.library} for {builder.gpu or where}, into {cache.folder}")
    pairs = [pair for precision in precisions for pair in graph_precisions(builder.config, precision).items()]
    for graph, precision in dict.fromkeys(pairs):
        library = builder.library
        digest = builder.digest(graph, precision)
        key = PlanKey(graph, precision, digest, library.name, library.version, builder.capability, builder.gpu)
        entry = None if is_forced else cache.find(key)
        state = "already built"
        if entry is None:
            built = builder.build(graph, precision)
            entry = cache.store(key, builder.model, built.tensors, built.blob)
            state = f"read in {built.read_s:.1f} s, built in {built.build_s:.1f} s"
        print(f"  {graph:13} {precision:4}  {state}, {entry.size / 1e6:.1f} MB")


def usage(builder: Builder, gpu: TargetGpu, cache: PlanCache) -> str:
    """Return the closing line for people: how the engines are run, and what that needs."""
    command = f"python run.py --avatar face.jpg --engine tensorrt --model {builder.model}"
    place = PlanCache().folder
    if not gpu.name:
        return (
            f"running them needs {GPU_REQUIREMENTS}, found here: {gpu.lack}; where those are, build again or "
            f"copy the files to the folder that is {place} here, then: {command}"
        )
    return f"run them with {command}" if cache.folder == place else f"copy them to {place}, then: {command}"


if __name__ == "__main__":
    sys.exit(main())
