"""Exported graphs are plain, portable and equal to torch; a failed export leaves nothing behind."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file

from avatarify_plus.bundle import OPSET, Bundle, open_bundle
from avatarify_plus.errors import ModelError
from avatarify_plus.network.tensor_names import signatures
from export import onnx_bundle, parity

OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "DepthToSpace", "Div", "Exp",
    "Expand", "Gather", "GridSample", "Mul", "Neg", "Pow", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape",
    "Resize", "Round", "Sigmoid", "Slice", "Softmax", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
BUNDLES = ("blend_bundle", "ours_bundle", "fomm_bundle", "mixed_bundle", "photo_bundle")
PICTURES = {"image", "painted", "kept", "source_contours", "driving_contours"}
"""The tensors that are uint8, beside all of the painters of parts."""


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    found: Bundle = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def without_exporter(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graphs from the bundle that was exported from the same checkpoint: the exporter needs seconds."""
    monkeypatch.setattr(onnx_bundle, "export_graph", lambda name, *_: onnx.load(blend_bundle.graph(name)))


def only_file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_graphs_are_named_and_typed_as_agreed(bundle: Bundle) -> None:
    for name, signature in signatures(bundle.config).items():
        graph = onnx.load(bundle.graph(name)).graph
        assert tuple(value.name for value in graph.input) == signature.inputs
        assert tuple(value.name for value in graph.output) == signature.outputs
        for value in (*graph.input, *graph.output):
            is_picture = value.name in PICTURES or name.startswith("paint_")
            expected = onnx.TensorProto.UINT8 if is_picture else onnx.TensorProto.FLOAT
            assert value.type.tensor_type.elem_type == expected, value.name
            assert all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim), value.name


def test_graphs_are_portable(bundle: Bundle) -> None:
    for name in signatures(bundle.config):
        model = onnx.load(bundle.graph(name), load_external_data=False)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
        assert not model.functions
        assert {node.op_type for node in model.graph.node} <= OPERATORS
        for weight in model.graph.initializer:
            assert weight.data_location == onnx.TensorProto.DEFAULT, "the weights are inside"
            assert weight.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64), weight.name
        for node in model.graph.node:
            if node.op_type == "GridSample":
                attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
                assert attributes == {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 0}


def test_each_warp_is_one_node(bundle: Bundle) -> None:
    nodes = onnx.load(bundle.graph("animate")).graph.node
    # the small source, the features at one scale or at two, and the picture or, where it is warped elsewhere, contours
    warps = 4 if bundle.config.blend else 2
    assert sum(node.op_type == "GridSample" for node in nodes) == warps


def test_graphs_reveal_nothing_about_the_machine(bundle: Bundle) -> None:
    for name in signatures(bundle.config):
        data = bundle.graph(name).read_bytes()
        for trace in (
            str(Path(__file__).resolve().parents[2]),
            "site-packages",
            ".py",
            "stack_trace",
            str(bundle.folder),
        ):
            assert trace.encode() not in data, trace


def test_the_manifest_says_how_the_model_came_about(blend_bundle: Bundle, blend_checkpoint: Path) -> None:
    manifest = blend_bundle.manifest
    assert (manifest.name, manifest.licence, manifest.opset) == ("tiny-skip", "CC0", OPSET)
    assert manifest.training == {"data": "none", "steps": 3, "samples": 12}
    assert manifest.metrics == {"L1": 0.25}
    weights, ema = load_file(blend_bundle.weights), torch.load(blend_checkpoint, weights_only=True)["ema"]
    assert weights.keys() == ema.keys()
    assert all(torch.equal(weights[name], ema[name]) for name in ema)


@pytest.mark.usefixtures("without_exporter")
def test_a_bundle_can_be_exported_again(blend_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert onnx_bundle.main([str(blend_bundle.folder), str(out), "--name", "renamed"]) == 0
    again = open_bundle(out)
    assert again.manifest.files == blend_bundle.manifest.files
    assert (again.manifest.name, again.manifest.metrics) == ("renamed", {"L1": 0.25})
    assert only_file_names(tmp_path) == ["again"]
    assert onnx_bundle.main([str(out), str(out), "--force"]) == 0, "also onto itself"
    assert open_bundle(out).manifest.name == "renamed"
    assert only_file_names(tmp_path) == ["again"]


@pytest.mark.usefixtures("without_exporter")
def test_a_graph_that_differs_from_torch_is_refused(
    blend_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = torch.load(blend_checkpoint, weights_only=True)
    values["ema"]["generator.first.conv.bias"] += 0.01
    torch.save(values, tmp_path / "other.pt")
    assert onnx_bundle.main([str(tmp_path / "other.pt"), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "graph encode_source: feature_quarter differs from torch by" in error and error.count("\n") == 1
    assert only_file_names(tmp_path) == ["other.pt"], "nothing half done"


def test_nothing_is_overwritten_by_accident(
    blend_checkpoint: Path, blend_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert onnx_bundle.main([str(blend_checkpoint), str(blend_bundle.folder)]) == 1
    assert "it exists; choose another folder or --force" in capsys.readouterr().err
    (tmp_path / "letters").write_text("dear")
    assert onnx_bundle.main([str(blend_checkpoint), str(tmp_path), "--force"]) == 1
    assert "it is not a bundle" in capsys.readouterr().err
    assert only_file_names(tmp_path) == ["letters"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ema": {}}, "missing: dense_motion"),
        ({"config": {"legs": 4}}, "holds no network of this version: .*legs"),
        ({"step": None}, "lacks step"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(
    blend_checkpoint: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    values = torch.load(blend_checkpoint, weights_only=True) | change
    torch.save({key: value for key, value in values.items() if value is not None}, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=message):
        onnx_bundle.load(str(tmp_path / "odd.pt"))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint at .*nowhere\.pt"):
        onnx_bundle.load(str(tmp_path / "nowhere.pt"))


def test_keypoints_must_fit_the_mesh_layout(blend_checkpoint: Path) -> None:
    model, _ = onnx_bundle.load(str(blend_checkpoint))
    config = model.config.from_dict(model.config.to_dict() | {"keypoint_count": 7})
    with pytest.raises(ModelError, match="takes 7 keypoints from the mesh, its mesh layout face-20 has 20"):
        onnx_bundle.require_mesh_layout(config)


def test_metrics_must_be_an_object(tmp_path: Path, blend_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = tmp_path / "metrics.json"
    for text in ("[1]", "{", "[" * 100_000):
        metrics.write_text(text)
        assert onnx_bundle.main([str(blend_checkpoint), str(tmp_path / "out"), "--metrics", str(metrics)]) == 1
        assert "metrics" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["ours_bundle", "mixed_bundle", "photo_bundle"])
def test_parity_prints_a_line_per_engine(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    capsys.readouterr()  # what the export printed
    assert parity.main([str(bundle.folder), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line[:25].strip(): line[25:] for line in lines[2:]}
    assert list(rows) == [f"{name} {precision}" for name, precision in parity.CANDIDATES]
    levels = {label: int(row.split()[0]) for label, row in rows.items() if "not available" not in row}
    assert levels["torch fp32"] == 0
    assert max(levels["onnxruntime fp32"], levels["openvino fp32"]) <= 1
    assert "has no int8 graph" in rows["openvino int8"]
    assert parity.main([str(bundle.folder), "--source", "nowhere.jpg"]) == 1
    assert "nowhere.jpg" in capsys.readouterr().err


def test_parity_looks_inside_a_picture(quantized_photo: Bundle, tmp_path: Path) -> None:
    assert parity.main([str(quantized_photo.folder), "--threads", "1", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    for name in ("onnxruntime fp32", "openvino fp32"):
        row = found[name]
        assert max(row[f"{inner}_max"] for inner in ("painted", "kept", "mouth", "eye")) <= 1
        assert row["deformation_max"] < 1e-4
    twin = found["openvino int8"]
    assert all(twin[f"{inner}_max"] > 0 for inner in ("painted", "kept", "deformation", "mouth", "eye"))
    assert twin["image_mean"] < 3


def test_a_damaged_bundle_is_not_exported(blend_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(blend_bundle.folder, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    manifest["files"]["weights.safetensors"] = "0" * 64
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="damaged"):
        onnx_bundle.load(str(tmp_path / "copy"))


def test_a_network_can_be_exported_as_trained(blend_bundle: Bundle, tmp_path: Path) -> None:
    assert onnx_bundle.main([str(blend_bundle.folder), str(tmp_path / "plain"), "--as-trained"]) == 0
    plain = onnx.load(tmp_path / "plain" / "animate.onnx").graph
    simple = onnx.load(blend_bundle.graph("animate")).graph
    assert "DepthToSpace" in {node.op_type for node in simple.node}
    assert "DepthToSpace" not in {node.op_type for node in plain.node}


def test_painters_of_parts_are_simplified_too(photo_bundle: Bundle) -> None:
    for part in ("mouth", "eye"):
        kinds = [node.op_type for node in onnx.load(photo_bundle.graph(f"paint_{part}")).graph.node]
        assert "Resize" not in kinds, "convolutions run before the enlargement"


def test_masks_to_check_with_are_soft() -> None:
    masks = onnx_bundle.soft_masks(2, 5, 128, torch.Generator().manual_seed(0))
    assert masks.shape == (2, 5, 128, 128) and masks.dtype == torch.uint8
    inside, outside = ((masks == level).float().mean() for level in (255, 0))
    assert inside > 0.1 and outside > 0.1 and inside + outside < 0.99
