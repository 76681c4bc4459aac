"""A bundle's graph as TensorRT takes it: each tensor has the type that it is computed in."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEARNED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""The operators that are worth computing in float16: nearly all multiplications of a frame are theirs."""

HALF_SCALES_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take float16."""

SMALLEST_SCALE = float(np.finfo(np.float16).smallest_subnormal)
"""What smaller scales become, those of channels that are almost zero: a scale must be above zero."""


def prepare(model: onnx.ModelProto, half: bool) -> onnx.ModelProto:
    """Return a copy of a float32 graph, quantized or not, for a strongly typed TensorRT network.

    TensorRT can only cast uint8 inputs, so their casts move to the front. With `half`, the
    convolutions and what lies between them are float16. Warps, what their coordinates are computed from back to the
    last convolution, and what follows the last convolution on the way to an output stay float32: float16 coordinates
    would be off by a sixteenth of a pixel at the border of 256.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    del prepared.graph.value_info[:]  # their types will change
    _sort(prepared.graph)
    _cast_first(prepared.graph)
    if half:
        _Halver(prepared).run()
    return prepared


def _sort(graph: onnx.GraphProto) -> None:
    """Put each node after those that it reads, as ONNX requires and not every quantizer does."""
    waiting = list(graph.node)
    made = {output for node in waiting for output in node.output}
    nodes: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if not made & set(node.input)]
        assert ready, "a graph has no cycles"
        nodes += ready
        made -= {output for node in ready for output in node.output}
        waiting = [node for node in waiting if made & set(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)


def _cast_first(graph: onnx.GraphProto) -> None:
    """Cast uint8 inputs to float before they are transposed, instead of after."""
    inputs = {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for transpose in graph.node:
        if transpose.op_type != "Transpose" or transpose.input[0] not in inputs:
            continue
        readers = [node for node in graph.node if transpose.output[0] in node.input]
        if len(readers) != 1 or readers[0].op_type != "Cast":
            continue
        cast = readers[0]
        perm, to = copy.deepcopy(list(transpose.attribute)), copy.deepcopy(list(cast.attribute))
        for node, kind, attributes in ((transpose, "Cast", to), (cast, "Transpose", perm)):  # they are swapped
            node.op_type = kind
            del node.attribute[:]
            node.attribute.extend(attributes)


class _Halver:
    """Turns what lies between the convolutions of one graph into float16."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {output: node for node in self.graph.node for output in node.output}
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        self.kinds |= {tensor.name: tensor.data_type for tensor in self.graph.initializer}
        self.made: dict[str, onnx.NodeProto | onnx.TensorProto] = {}

    def run(self) -> None:
        exact = self._exact_outputs()
        halved: set[str] = set()
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            is_half = self._is_half(node, exact, halved)
            for index, name in enumerate(node.input):
                if not self._follows(node, index) or (name in halved) == is_half:
                    continue
                new = f"{name}_half" if is_half else f"{name}_exact"
                if new not in self.made:
                    self.made[new] = self._converted(name, new, is_half)
                    if name not in self.constants:
                        nodes.append(self.made[new])
                node.input[index] = new
            if is_half:
                halved |= {output for output in node.output if self.kinds.get(output) == TensorProto.FLOAT}
            nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(made for made in self.made.values() if isinstance(made, onnx.TensorProto))
        self._drop_unused_constants()
        for opset in self.model.opset_import:
            if opset.domain == "" and any(node.op_type == "QuantizeLinear" for node in nodes):
                opset.version = max(opset.version, HALF_SCALES_OPSET)

    def _exact_outputs(self) -> set[str]:
        """Return the tensors that stay float32: those that outputs and warps' coordinates are computed from."""
        exact: set[str] = set()
        waiting = [value.name for value in self.graph.output]
        waiting += [node.output[0] for node in self.graph.node if node.op_type == "GridSample"]
        while waiting:
            name = waiting.pop()
            node = self.producers.get(name)
            if node is None or name in exact or node.op_type in LEARNED:
                continue
            exact |= set(node.output)
            waiting += node.input[1:] if node.op_type == "GridSample" else node.input
        return exact

    def _is_half(self, node: onnx.NodeProto, exact: set[str], halved: set[str]) -> bool:
        if exact & set(node.output):
            return False
        if node.op_type in LEARNED or node.op_type == "DequantizeLinear":
            return True
        return any(name in halved for index, name in enumerate(node.input) if self._follows(node, index))

    def _follows(self, node: onnx.NodeProto, index: int) -> bool:
        """Return whether an input has the type that its node computes in."""
        is_parameter = node.op_type == "Resize" and index > 0
        return not is_parameter and self.kinds.get(node.input[index]) == TensorProto.FLOAT

    def _converted(self, name: str, new: str, is_half: bool) -> Any:
        """Return a constant, or the node, that gives a tensor in the other type."""
        if name in self.constants:
            values = numpy_helper.to_array(self.constants[name])
            is_scale = any(
                node.op_type in ("QuantizeLinear", "DequantizeLinear") and name in node.input[1:2]
                for node in self.graph.node
            )
            safe = np.maximum(values, SMALLEST_SCALE) if is_scale else values
            return numpy_helper.from_array(np.asarray(safe, np.float16), new)
        kind = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
        return helper.make_node("Cast", [name], [new], name=f"cast_{new}", to=kind)

    def _drop_unused_constants(self) -> None:
        used: set[str] = set()
        for node in self.graph.node:
            used |= set(node.input)
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
