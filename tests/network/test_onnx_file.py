"""A graph is looked through before a runtime sees it: what it is, and what else it asks for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from avatarify_plus.bundle import WEIGHTS, Bundle, Manifest, open_bundle, write_manifest
from avatarify_plus.errors import ModelError
from avatarify_plus.network import onnx_file
from avatarify_plus.network.config import network_config
from avatarify_plus.network.onnx_file import read_graph
from avatarify_plus.network.tensor_names import signatures, tensors

CONFIG = network_config("ours", "tiny", keypoint_count=4)
ELEMENTS = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


def graph_of(name: str, **others: list[int]) -> onnx.ModelProto:
    """Return a graph with the inputs and outputs of a config's; others: their shapes, where they are to be wrong."""
    infos = {
        entry: helper.make_tensor_value_info(entry, ELEMENTS[tensor.kind], others.get(entry, tensor.shape))
        for entry, tensor in tensors(name, CONFIG).items()
    }
    signature = signatures(CONFIG)[name]
    weight = numpy_helper.from_array(np.ones(4, np.float32), "weight")
    nodes = [
        helper.make_node("Identity", ["weight"], ["same"]),
        helper.make_node("Constant", [], ["five"], value=numpy_helper.from_array(np.array(5.0))),
    ]
    entries = ([infos[entry] for entry in names] for names in signature)
    return helper.make_model(helper.make_graph(nodes, name, *entries, [weight]))


def bundle_of(folder: Path, change: Callable[[onnx.ModelProto], None] = lambda _: None) -> Bundle:
    """Write a bundle whose `animate` was changed, and open it."""
    for name in signatures(CONFIG):
        model = graph_of(name)
        if name == "animate":
            change(model)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    (folder / WEIGHTS).write_bytes(b"none")
    write_manifest(folder, Manifest("small", CONFIG))
    return open_bundle(folder)


def test_a_graph_that_fits_is_given(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    for name in signatures(CONFIG):
        assert bundle.graph(name) == tmp_path / f"{name}.onnx"
    found = read_graph(bundle.graph("animate"))
    assert found.inputs | found.outputs == tensors("animate", CONFIG)


def elsewhere(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/dev/zero"


def in_an_attribute(model: onnx.ModelProto) -> None:
    elsewhere(model.graph.node[1].attribute[0].t)


def in_a_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["x"], value=numpy_helper.from_array(np.array(5.0)))
    elsewhere(node.attribute[0].t)
    model.functions.append(helper.make_function("own", "f", [], ["x"], [node], [helper.make_opsetid("", 18)]))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("turn", TensorProto.INT64, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    model.graph.node.append(helper.make_node("Loop", ["", "true"], [], body=body))


def strange_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def another_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def another_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("big", TensorProto.FLOAT, [1 << 34]))


def no_input(model: onnx.ModelProto) -> None:
    del model.graph.input[0]


def other_shape(model: onnx.ModelProto) -> None:
    model.CopyFrom(graph_of("animate", small=[1, 3, 32, 32]))


def free_shape(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def other_kind(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: elsewhere(model.graph.initializer[0]), "takes 'weight' from another file"),
        (in_an_attribute, "takes 'a tensor' from another file"),
        (in_a_function, "takes 'a tensor' from another file"),
        (loop, "holds the operator Loop, which no model of this program has"),
        (strange_operator, "holds the operator 'Identity' of 'com.example'"),
        (another_input, "it has an unknown input 'more'"),
        (another_output, "it has an unknown output 'big'"),
        (no_input, "it lacks input 'feature_quarter'"),
        (other_shape, r"input small should be float32 \(1, 3, 64, 64\), found float32 \(1, 3, 32, 32\)"),
        (free_shape, r"should be float32 \(1, 16, 64, 64\), found float32 \(\?, 16, 64, 64\)"),
        (other_kind, r"output image should be uint8 .*, found float32"),
    ],
)
def test_what_no_model_of_ours_does_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    bundle = bundle_of(tmp_path, change)
    with pytest.raises(ModelError, match=message) as caught:
        bundle.graph("animate")
    assert str(caught.value).isprintable() and str(tmp_path / "animate.onnx") in str(caught.value)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "animate.onnx"
    for content in (b"", b"nothing", b"\x3a\xff\xff\xff\xff\x0f", json.dumps({"a": 1}).encode(), b"\x80" * 100):
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"animate\.onnx"):
            read_graph(file)
    with pytest.raises(ModelError, match="cannot read"):
        read_graph(tmp_path / "none.onnx")


def message(number: int, content: bytes) -> bytes:
    """Return a field of protobuf's that holds a message."""
    length, sizes = len(content), bytearray()
    while length > 127:
        sizes.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *sizes, length]) + content


def test_graphs_in_graphs_end(tmp_path: Path) -> None:
    content = b""
    for _ in range(onnx_file.MAX_DEPTH):  # by hand: protobuf's own library refuses to write it
        content = message(1, message(5, message(6, content)))  # a node's attribute's graph
    (tmp_path / "deep.onnx").write_bytes(message(7, content))
    with pytest.raises(ModelError, match="graphs in graphs"):
        read_graph(tmp_path / "deep.onnx")


def test_damage_of_any_kind_is_one_line(tmp_path: Path) -> None:
    good, file, chance = graph_of("animate").SerializeToString(), tmp_path / "animate.onnx", random.Random(0)
    refused = 0
    for _ in range(500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
        try:
            read_graph(file)
        except ModelError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 50, "a test in which hardly anything is refused shows nothing"
