"""TensorRT's form of the graphs that leave the photo to their caller, and engines that are really built of them."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines import cuda
from avatarify_plus.engines.nvidia import Gpu
from avatarify_plus.engines.tensorrt_library import RTX, load_library
from avatarify_plus.engines.tensorrt_plans import PlanCache, graph_precisions
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names
from avatarify_plus.network.graphs import build_graphs
from avatarify_plus.network.weights import read_model
from export import trt, trt_torch
from export.calibration import Example
from export.composition import shown_picture
from export.onnx_bundle import check_inputs, smooth_picture
from export.trt_builder import TargetGpu
from export.trt_graph import prepare
from export.trt_onnx import OnnxBuilder

NEEDS_RTX = pytest.mark.skipif(
    importlib.util.find_spec(RTX) is None, reason="tensorrt_rtx is not installed: there are no wheels for this platform"
)
PAINTING = ("animate", "paint_mouth", "paint_eye")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> Gpu:
        raise EngineError("no NVIDIA driver")

    monkeypatch.setattr(cuda, "find_gpu", refuse)


def outputs_of(model: onnx.ModelProto, example: Example) -> Example:
    """Return what a graph makes of an example, by name."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    found = session.run(names, {node.name: example[node.name] for node in session.get_inputs()})
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("graph", PAINTING)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_form_shows_the_same(
    quantized_photo: Bundle, photo_examples: dict[str, list[Example]], graph: str, precision: str
) -> None:
    model = onnx.load(quantized_photo.graph(tensor_names.quantized(graph) if precision == "int8" else graph))
    prepared = prepare(model, half=precision != "fp32")
    onnx.checker.check_model(prepared, full_check=True)
    inputs = {value.name for value in prepared.graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    assert {node.op_type for node in prepared.graph.node if inputs & set(node.input)} == {"Cast"}
    example = photo_examples[graph][0]
    found, expected = (shown_picture(graph, example, outputs_of(each, example)) for each in (prepared, model))
    assert np.abs(found - expected).mean() < (0.5 if precision == "int8" else 0.1)


def test_a_deformation_is_not_rounded(photo_bundle: Bundle, photo_examples: dict[str, list[Example]]) -> None:
    model = onnx.load(photo_bundle.graph("animate"))
    half = prepare(model, half=True)
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    made = {output: node for node in half.graph.node for output in node.output}
    waiting, seen = [tensor_names.DEFORMATION], set[str]()
    while waiting:  # back to the convolutions
        name = waiting.pop()
        node = made.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        assert kinds[name] != TensorProto.FLOAT16, f"{name} rounds places"
        if not (node.op_type == "Cast" and kinds[node.input[0]] == TensorProto.FLOAT16):
            waiting += node.input
    example = photo_examples["animate"][0]
    found, expected = (outputs_of(each, example)[tensor_names.DEFORMATION] for each in (half, model))
    assert np.abs(found - expected).max() < 0.01


@NEEDS_RTX
@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("precision", ["fp16", "fp32", "int8"])
def test_painters_are_built_too(quantized_photo: Bundle, tmp_path: Path, precision: str) -> None:
    options = ["--backend", "tensorrt-rtx", "--cache", str(tmp_path), "--precision", precision]
    assert trt.main([str(quantized_photo.folder), *options]) == 0
    entries = list(PlanCache(tmp_path).entries())
    built = {entry.key.graph: entry.key.precision for entry in entries}
    assert built == graph_precisions(quantized_photo.config, precision)
    assert set(PAINTING) <= set(built)
    for entry in entries:
        signature = tensor_names.signatures(quantized_photo.config)[entry.key.graph]
        assert set(entry.tensors) == {*signature.inputs, *signature.outputs}


@NEEDS_RTX
def test_painters_can_be_built_in_int8(quantized_photo: Bundle) -> None:
    builder = OnnxBuilder(quantized_photo, load_library(RTX), TargetGpu("", "", "none here"), "8.9", None)
    for graph in PAINTING[1:]:
        built = builder.build(graph, "int8")
        assert built.blob and set(built.tensors) == {
            *tensor_names.signatures(quantized_photo.config)[graph].inputs,
            tensor_names.PART,
        }


@pytest.mark.parametrize("graph", PAINTING)
def test_torch_traces_half_precision(photo_bundle: Bundle, graph: str) -> None:
    model = read_model(photo_bundle.weights, photo_bundle.config)
    graphs = build_graphs(model)
    inputs = check_inputs(graphs, model.config, smooth_picture)[graph]
    signature = tensor_names.signatures(model.config)[graph]
    program = trt_torch.export_program(graphs[graph], tuple(inputs[name] for name in signature.inputs), "fp16")
    nodes = list(program.graph.nodes)
    convolutions = [node for node in nodes if "conv2d" in str(node.target)]
    assert convolutions and {node.meta["val"].dtype for node in convolutions} == {torch.float16}
    warps = [node for node in nodes if "grid_sampler" in str(node.target)]
    assert {argument.meta["val"].dtype for node in warps for argument in node.args[:2]} <= {torch.float32}
    (returned,) = nodes[-1].args
    kinds = dict(zip(signature.outputs, (output.meta["val"].dtype for output in returned), strict=True))
    expected = dict.fromkeys(signature.outputs, torch.uint8) | {tensor_names.DEFORMATION: torch.float32}
    assert kinds == {name: expected[name] for name in signature.outputs}
