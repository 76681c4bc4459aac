"""What an ONNX file asks of whoever computes it, read without running it or reading anything beside it.

A graph may name other files for its weights, loop for ever, or have other inputs than its bundle says. So it is looked
through before a runtime sees it. The format is protobuf's: messages of numbered fields (onnx.proto3).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from avatarify_plus.errors import ModelError
from avatarify_plus.network.tensor_names import Tensor

MAX_DEPTH = 32
"""How deep messages may lie in each other; exported graphs have ten levels."""

MAX_NAME = 200
"""So many bytes of a name are read."""

CONTROL_FLOW = ("Loop", "Scan", "If")
"""Operators that hold graphs of their own. No model of this project has them, and a loop need not end."""

STANDARD_DOMAINS = ("", "ai.onnx")
"""Where ONNX's own operators are; others' need code that is not here."""

ELEMENT_KINDS = {1: "float32", 2: "uint8"}
"""The kinds of numbers that enter and leave graphs, by ONNX's number."""

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5

# The numbers of the fields that are looked at, by message.
MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_TENSOR, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 11, 12, 15
FUNCTION_NODE = 7
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS, ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
SPARSE_TENSORS = (1, 2)
TENSOR_NAME, TENSOR_EXTERNAL_DATA, TENSOR_LOCATION = 8, 13, 14
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_KIND, TENSOR_SHAPE = 1, 1, 2
SHAPE_DIMENSION, DIMENSION_VALUE = 1, 1


class GraphTensors(NamedTuple):
    """A graph's inputs and outputs by name; a side of 0 was not told."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class Field(NamedTuple):
    """A field of a message: its number, and a number or the place of its bytes."""

    number: int
    value: int
    end: int | None


class OnnxFileError(ModelError):
    """A graph is damaged or asks for what no graph of this project does; the message does not name the file."""


def read_graph(path: Path) -> GraphTensors:
    """Return a graph's inputs and outputs.

    Raises ModelError if the file is no ONNX file or damaged, and if its weights lie in other files, or it holds control
    flow or operators that are not ONNX's own.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).model()
    except OnnxFileError as error:
        raise ModelError(f"{path} {error}: do not use this model") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}: fetch or export it again") from error


class _Reader:
    """Reads the messages of one file, each given by the place of its bytes."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def model(self) -> GraphTensors:
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        for field in self._fields(0, len(self._data)):
            if field.number == MODEL_GRAPH:
                self._graph(field, inputs, outputs, 1)
            elif field.number == MODEL_FUNCTION:
                for inner in self._parts(field):
                    if inner.number == FUNCTION_NODE:
                        self._node(inner, 2)
        if not outputs:
            raise OnnxFileError("is not an ONNX graph, or a damaged one")
        return GraphTensors(inputs, outputs)

    def _graph(self, graph: Field, inputs: dict[str, Tensor], outputs: dict[str, Tensor], depth: int) -> None:
        for field in self._parts(graph):
            if field.number == GRAPH_NODE:
                self._node(field, depth + 1)
            elif field.number == GRAPH_TENSOR:
                self._tensor(field)
            elif field.number == GRAPH_SPARSE:
                self._sparse(field)
            elif field.number in (GRAPH_INPUT, GRAPH_OUTPUT):
                name, tensor = self._value(field)
                (inputs if field.number == GRAPH_INPUT else outputs)[name] = tensor

    def _node(self, node: Field, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise OnnxFileError("holds graphs in graphs in graphs")
        operator = domain = ""
        for field in self._parts(node):
            if field.number == NODE_OPERATOR:
                operator = self._text(field)
            elif field.number == NODE_DOMAIN:
                domain = self._text(field)
            elif field.number == NODE_ATTRIBUTE:
                self._attribute(field, depth)
        if operator in CONTROL_FLOW:
            raise OnnxFileError(f"holds the operator {operator}, which no model of this program has")
        if domain not in STANDARD_DOMAINS:
            raise OnnxFileError(f"holds the operator {operator!a} of {domain!a}, which is not one of ONNX's own")

    def _attribute(self, attribute: Field, depth: int) -> None:
        for field in self._parts(attribute):
            if field.number in ATTRIBUTE_TENSORS and field.end is not None:
                self._tensor(field)
            elif field.number in ATTRIBUTE_SPARSE and field.end is not None:
                self._sparse(field)
            elif field.number in ATTRIBUTE_GRAPHS and field.end is not None:
                self._graph(field, {}, {}, depth + 1)

    def _sparse(self, sparse: Field) -> None:
        for field in self._parts(sparse):
            if field.number in SPARSE_TENSORS:
                self._tensor(field)

    def _tensor(self, tensor: Field) -> None:
        name, is_external = "", False
        for field in self._parts(tensor):
            if field.number == TENSOR_NAME:
                name = self._text(field)
            elif field.number == TENSOR_EXTERNAL_DATA or (field.number == TENSOR_LOCATION and field.value):
                is_external = True
        if is_external:
            raise OnnxFileError(f"takes {name or 'a tensor'!a} from another file, which its manifest cannot vouch for")

    def _value(self, value: Field) -> tuple[str, Tensor]:
        name, tensor = "", Tensor("unknown", ())
        for field in self._parts(value):
            if field.number == VALUE_NAME:
                name = self._text(field)
            elif field.number == VALUE_TYPE:
                tensor = self._type(field)
        return name, tensor

    def _type(self, described: Field) -> Tensor:
        kind, sides = "unknown", []
        for field in self._parts(described):
            if field.number != TYPE_TENSOR:
                continue
            for part in self._parts(field):
                if part.number == TENSOR_KIND:
                    kind = ELEMENT_KINDS.get(part.value, "unknown")
                elif part.number == TENSOR_SHAPE:
                    sides = [self._side(side) for side in self._parts(part) if side.number == SHAPE_DIMENSION]
        return Tensor(kind, tuple(sides))

    def _side(self, dimension: Field) -> int:
        return next((field.value for field in self._parts(dimension) if field.number == DIMENSION_VALUE), 0)

    def _text(self, field: Field) -> str:
        if field.end is None:
            raise OnnxFileError("is damaged")
        end = min(field.end, field.value + MAX_NAME)
        return bytes(self._data[field.value : end]).decode("utf-8", "backslashreplace")

    def _parts(self, message: Field) -> Iterator[Field]:
        if message.end is None:
            raise OnnxFileError("is damaged")
        return self._fields(message.value, message.end)

    def _fields(self, place: int, end: int) -> Iterator[Field]:
        while place < end:
            key, place = self._number(place, end)
            number, wire = key >> 3, key & 7
            if wire == VARINT:
                value, place = self._number(place, end)
                yield Field(number, value, None)
                continue
            if wire == LENGTH:
                length, place = self._number(place, end)
            elif wire in (EIGHT_BYTES, FOUR_BYTES):
                length = 8 if wire == EIGHT_BYTES else 4
            else:
                raise OnnxFileError("is not an ONNX graph, or a damaged one")
            if place + length > end:
                raise OnnxFileError("is cut short or damaged")
            if wire == LENGTH:
                yield Field(number, place, place + length)
            place += length

    def _number(self, place: int, end: int) -> tuple[int, int]:
        """Return a number of seven bits a byte, the lowest first, and the place behind it."""
        value = shift = 0
        while place < end and shift < 70:
            byte = self._data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, place
            shift += 7
        raise OnnxFileError("is cut short or damaged")
