"""A bundle opens only if every file is what its manifest says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from avatarify_plus import bundle as bundle_module
from avatarify_plus.bundle import MANIFEST, WEIGHTS, Manifest, describe, open_bundle, write_manifest
from avatarify_plus.engines import open_engine
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.network.config import network_config

LEARNED = network_config("fomm", "tiny")
MESH = network_config("ours-skip", "tiny", keypoints="mesh")


def write_bundle(folder: Path, manifest: Manifest) -> Manifest:
    folder.mkdir(parents=True)
    for name in (WEIGHTS, "detect.onnx", "encode_source.onnx", "animate.onnx"):
        if manifest.network.keypoints == "learned" or name != "detect.onnx":
            (folder / name).write_bytes(name.encode())
    return write_manifest(folder, manifest)


def change_manifest(folder: Path, **changes: object) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    sys.set_int_max_str_digits(0)  # Python would not even write such a number
    try:
        (folder / MANIFEST).write_text(json.dumps(values | changes))
    finally:
        sys.set_int_max_str_digits(4300)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = Manifest("small", LEARNED, training={"steps": 3}, metrics={"L1": 0.5}, revision="abc", licence="CC0")
    written = write_bundle(tmp_path / "small", manifest)
    opened = open_bundle(tmp_path / "small")
    assert opened.manifest == written
    assert opened.config == LEARNED
    assert set(written.files) == {WEIGHTS, "detect.onnx", "encode_source.onnx", "animate.onnx"}
    assert opened.weights.read_bytes() == WEIGHTS.encode()
    assert opened.has_graph("animate") and not opened.has_graph("animate-int8")


def test_a_mesh_model_has_no_detector(tmp_path: Path) -> None:
    write_bundle(tmp_path / "mesh", Manifest("mesh", MESH))
    with pytest.raises(ModelError, match=r"mesh has no graph detect\.onnx: it has animate\.onnx, encode_source\.onnx"):
        open_bundle(tmp_path / "mesh").graph("detect")


def test_a_bare_name_is_a_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "SHIPPED", tmp_path / "models")
    write_bundle(tmp_path / "models" / "live-256", Manifest("live-256", LEARNED))
    assert open_bundle("live-256").folder == tmp_path / "models" / "live-256"
    with pytest.raises(ModelError, match=r"no model 'live-512': .*\(live-256\)"):
        open_bundle("live-512")
    monkeypatch.chdir(tmp_path / "models")
    monkeypatch.setattr(bundle_module, "SHIPPED", tmp_path)
    assert open_bundle("live-256").manifest.name == "live-256", "a folder here of that name, where none is shipped"


def test_damage_is_noticed(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    (tmp_path / "m" / "animate.onnx").write_bytes(b"animate.onny")
    with pytest.raises(ModelError, match=r"animate\.onnx is damaged: its SHA-256 should be .*export it again"):
        open_bundle(tmp_path / "m")
    (tmp_path / "m" / "animate.onnx").unlink()
    with pytest.raises(ModelError, match=r"model m lacks .*animate\.onnx"):
        open_bundle(tmp_path / "m")


def test_a_copy_may_leave_the_weights_out_and_says_so_where_they_are_asked_for(tmp_path: Path) -> None:
    """An installed copy has the graphs alone."""
    write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    (tmp_path / "m" / WEIGHTS).unlink()
    opened = open_bundle(tmp_path / "m")
    assert opened.has_graph("animate")
    assert f"{WEIGHTS} (not in this copy)" in describe(opened)
    with pytest.raises(
        ModelError, match=r"^model m lacks .*weights\.safetensors, which installed copies leave out: copy"
    ):
        _ = opened.weights
    with pytest.raises(EngineError, match=r"^engine torch cannot be loaded: model m lacks .*weights\.safetensors"):
        open_engine(opened, "torch")


def test_a_copy_without_weights_can_be_written_again(tmp_path: Path) -> None:
    """As when an int8 graph is added to it."""
    written = write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    (tmp_path / "m" / WEIGHTS).unlink()
    write_manifest(tmp_path / "m", written)
    assert open_bundle(tmp_path / "m").manifest.files == written.files


def test_weights_that_are_there_are_verified(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    (tmp_path / "m" / WEIGHTS).write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"weights\.safetensors is damaged"):
        open_bundle(tmp_path / "m")


def test_what_the_network_needs_must_be_listed(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    change_manifest(tmp_path / "m", files={k: v for k, v in written.files.items() if k != "detect.onnx"})
    with pytest.raises(ModelError, match=r"does not list detect\.onnx"):
        open_bundle(tmp_path / "m")


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    change_manifest(tmp_path / "m", files=written.files | {"../secret": "0"})
    with pytest.raises(ModelError, match="not a plain file name"):
        open_bundle(tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "has format version 99, this program reads 1 to 2: update"),
        ({"colour": "red"}, "unknown colour"),
        ({"files": []}, "files and network must be objects"),
        ({"network": {"preset": "fomm", "legs": 4}}, "does not hold a valid network config: .*legs"),
        ({"network": {"detector": {"height": 4}}}, "does not hold a valid network config: detector has unknown"),
        ({"network": {"detector": [1]}}, "network config: detector must be an object, found a list"),
        ({"network": {"image_size": 65536, "motion_size": 16384}}, "image_size must be a whole number from 1 to 4096"),
        ({"network": {"keypoint_count": 10**8}}, "keypoint_count must be a whole number from 1 to 512"),
        ({"network": {"keypoint_count": True}}, "keypoint_count must be a whole number .*, found True"),
        ({"network": {"temperature": float("nan")}}, "temperature must be a number .*, found nan"),
        ({"network": {"generator_width": 10**5000}}, "cannot read .*digits"),
        ({"network": {"generator_width": 10**400}}, "generator_width must be .*, found a huge number"),
        ({"network": {"occlusion_widths": [4, "4"]}}, "occlusion_widths must be two whole numbers"),
        ({"network": {"blend": "yes"}}, "blend must be true or false, found yes"),
        ({"network": {"attention": ["cbam"]}}, "attention must be a plain name, found a list"),
        ({"network": {"mesh_layout": "../../etc/passwd"}}, "mesh_layout must be a plain name, found ../../etc/passwd"),
        ({"network": {"mesh_layout": 5}}, "mesh_layout must be a plain name, found 5"),
        ({"network": {"mask_kernel": 4}}, "mask_kernel and final_kernel must be odd"),
        ({"format_version": True}, "has format version True"),
        ({"name": 3}, "name must be a text"),
        ({"name": "\ud800"}, "holds a text that cannot be shown, '.ud800'"),
        ({"licence": "\x1b]0;owned\x07"}, "holds a text that cannot be shown, '.x1b"),
        ({"training": {"a\nb": 1}}, "holds a text that cannot be shown"),
        ({"training": 5}, "training must be an object"),
        ({"opset": "18"}, "opset must be a whole number"),
        ({"files": {f"f{number}": "0" * 64 for number in range(100)}}, "lists 100 files, more than 64"),
        ({"files": {"animate.onnx": None}}, "gives no SHA-256 .* for animate.onnx"),
        ({"files": {"animate.onnx": "A" * 64}}, "gives no SHA-256 .* for animate.onnx"),
        ({"files": {"a" * 300: "0" * 64}}, "not a plain file name"),
        ({"files": {MANIFEST: "0" * 64}}, "not a plain file name"),
    ],
)
def test_wrong_manifests_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    change_manifest(tmp_path / "m", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        open_bundle(tmp_path / "m")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read .*manifest.json"),
        ("[]", "not a model manifest"),
        ('{"format_version": 1}', "missing .*network"),
        ("[" * 200_000, "its values lie too deep"),
        ('{"format_version": 1, "x": ' + "[" * 500 + "]" * 500 + "}", "its values lie too deep"),
        (" " * (1 << 20) + "{}", "more than 1048576 bytes"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=message):
        open_bundle(tmp_path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model: the folder has no manifest\.json"):
        open_bundle(tmp_path)
    with pytest.raises(ModelError, match=r"no model '.*nowhere': give a model's folder"):
        open_bundle(tmp_path / "nowhere")


def test_the_description_says_what_matters(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", Manifest("m", MESH, training={"steps": 7}, metrics={"L1": 0.03}, licence="CC0"))
    text = describe(open_bundle(tmp_path / "m"))
    for part in ("m: ours-skip (tiny), 256 px", "the face mesh (face-20)", "steps 7", "L1 0.03", "licence: CC0"):
        assert part in text


def test_bundles_and_engines_import_no_runtime() -> None:
    code = (
        "import sys, avatarify_plus.bundle, avatarify_plus.engines; "
        "sys.exit(bool({'torch', 'onnxruntime', 'openvino', 'safetensors'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[1]).returncode == 0


PHOTO_FIELDS = {"photo_reach": 1.5, "contour_width": 4, "part_width": 4}


def test_older_programs_read_what_they_can_compute(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "m", Manifest("m", MESH, format_version=2))
    values = json.loads((tmp_path / "m" / MANIFEST).read_text())
    assert written.format_version == values["format_version"] == 1
    assert not set(PHOTO_FIELDS) & set(values["network"])
    assert open_bundle(tmp_path / "m").config == MESH


def test_a_network_that_they_cannot_compute_has_format_2(tmp_path: Path) -> None:
    network = network_config("ours-skip", "tiny", keypoints="mesh", **PHOTO_FIELDS)
    folder = tmp_path / "m"
    folder.mkdir()
    for name in (WEIGHTS, *(f"{graph}.onnx" for graph in ("encode_source", "animate", "paint_mouth", "paint_eye"))):
        (folder / name).write_bytes(name.encode())
    assert write_manifest(folder, Manifest("m", network)).format_version == 2
    opened = open_bundle(folder)
    assert opened.config == network and opened.manifest.format_version == 2
    (folder / "paint_eye.onnx").unlink()
    write_manifest(folder, Manifest("m", network))
    with pytest.raises(ModelError, match=r"does not list paint_eye\.onnx"):
        open_bundle(folder)


def test_hidden_files_and_what_is_left_out_are_not_listed(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "m", Manifest("m", LEARNED))
    (tmp_path / "m" / ".animate-int8.onnx-killed.part").write_bytes(b"half")
    (tmp_path / "m" / "animate-int8.onnx").write_bytes(b"changing")
    assert write_manifest(tmp_path / "m", manifest, without=["animate-int8.onnx"]).files == manifest.files
    assert "animate-int8.onnx" in write_manifest(tmp_path / "m", manifest).files
