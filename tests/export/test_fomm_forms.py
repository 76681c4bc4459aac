"""Checkpoints of all the First Order Motion Model's forms compute here what its definition does."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fomm_twin import FommTwin
from torch import Tensor

from avatarify_plus.errors import ConfigError, ModelError
from avatarify_plus.network.simplify import simplify
from export import import_fomm
from export.fomm_config import FommConfig, parse_yaml, read_config
from export.import_fomm import import_model

TOLERANCE = 1e-4

Values = dict[str, dict[str, Tensor]]

JACOBIAN = ("jacobian.weight", "jacobian.bias")
BLURS = (("kp_detector", "down.weight"), ("generator", "dense_motion_network.down.weight"))


def as_it_is(values: Values) -> None:
    """Change nothing."""


def one_map(values: Values) -> None:
    values["kp_detector"] |= {name: values["kp_detector"][name][:4] for name in JACOBIAN}


def no_jacobian(values: Values) -> None:
    for name in JACOBIAN:
        del values["kp_detector"][name]


def no_occlusion(values: Values) -> None:
    for kind in ("weight", "bias"):
        del values["generator"][f"dense_motion_network.occlusion.{kind}"]


def parallel(values: Values) -> None:
    for part in ("generator", "kp_detector"):
        values[part] = {f"module.{name}": tensor for name, tensor in values[part].items()}


def half(values: Values) -> None:
    for part in ("generator", "kp_detector"):
        values[part] = {n: t.half() if t.is_floating_point() else t for n, t in values[part].items()}


def reduced_by(ratio: int) -> Callable[[Values], None]:
    """Return a change to the kernels that show by how much pictures are reduced."""

    def change(values: Values) -> None:
        for part, name in BLURS:
            if ratio == 1:
                del values[part][name]
            else:
                values[part][name] = torch.zeros(3, 1, 4 * ratio - 3, 4 * ratio - 3)

    return change


FORMS: dict[str, tuple[list[Callable[[Values], None]], int, FommConfig, float]] = {
    "released": ([as_it_is], 128, FommConfig(), 0.25),
    "one jacobian map": ([one_map], 128, FommConfig(), 0.25),
    "no jacobians": ([no_jacobian], 128, FommConfig(), 0.25),
    "no occlusion map": ([no_occlusion], 128, FommConfig(), 0.25),
    "not reduced": ([reduced_by(1)], 32, FommConfig(), 1.0),
    "reduced to a half": ([reduced_by(2)], 64, FommConfig(), 0.5),
    "reduced to an eighth": ([reduced_by(8)], 512, FommConfig(), 0.125),
    "of several GPUs": ([parallel], 128, FommConfig(), 0.25),
    "half precision": ([half], 128, FommConfig(), 0.25),
    "colder": ([as_it_is], 128, FommConfig(temperature=0.03), 0.25),
    "padded": ([as_it_is], 128, FommConfig(padding=3), 0.25),
    "wider Gaussians": ([as_it_is], 128, FommConfig(heatmap_variance=0.05), 0.25),
    "all at once": ([one_map, no_occlusion, reduced_by(8), half, parallel], 256, FommConfig(256, 0.2, 1, 0.02), 0.125),
}


def write(checkpoint: Path, out: Path, changes: list[Callable[[Values], None]]) -> Values:
    """Write a changed checkpoint; return its tensors by their plain names in single precision, for the twin."""
    values = torch.load(checkpoint, weights_only=True)
    for change in changes:
        change(values)
    torch.save(values, out)
    return {
        part: {n.removeprefix("module."): t.float() if t.is_floating_point() else t for n, t in values[part].items()}
        for part in ("kp_detector", "generator")
    }


@pytest.mark.parametrize("form", FORMS)
def test_each_form_computes_what_its_definition_does(
    form: str, fomm_checkpoint: Path, fomm_io: Path, tmp_path: Path
) -> None:
    changes, size, settings, scale = FORMS[form]
    path = tmp_path / "form.pth.tar"
    values = write(fomm_checkpoint, path, changes)
    model = import_model(path, size, settings)
    assert (model.config.image_size, model.config.motion_size) == (size, round(scale * size))
    with np.load(fomm_io) as file:
        pictures = [torch.from_numpy(file[name][:1]) for name in ("source", "driving")]
    source, driving = (
        torch.nn.functional.interpolate(picture, size=(size, size), mode="bilinear") for picture in pictures
    )
    twin = FommTwin(
        **values,
        scale=scale,
        temperature=settings.temperature,
        pad=settings.padding,
        kp_variance=settings.heatmap_variance,
    )
    with torch.inference_mode():
        expected = twin.animate(source, driving)
        found = model(source, model.detect(source), model.detect(driving)).image
        quick = simplify(model)
        exported = quick(source, quick.detect(source), quick.detect(driving)).image
    assert found is not None and exported is not None
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(exported, expected, atol=TOLERANCE, rtol=0)


CONFIG = """\
dataset_params:
  root_dir: data/mgif   # where the data lie
  frame_shape: [512, 512, 3]
  augmentation_params:
    jitter_param:
      brightness: 0.1
model_params:
  common_params:
    num_kp: 10
    estimate_jacobian: True
  kp_detector_params:
     temperature: 0.05
     block_expansion: 32
     scale_factor: 0.125
     single_jacobian_map: true
     pad: 3
  generator_params:
    block_expansion: 64
    dense_motion_params:
      block_expansion: 64
      kp_variance: 1.0e-2
      scale_factor: 0.125
train_params:
  epoch_milestones: []
  loss_weights:
    perceptual: [10, 10, 10, 10, 10]
visualizer_params:
  colormap: 'gist_rainbow'
"""


def test_fomms_own_config_says_what_tensors_do_not(tmp_path: Path) -> None:
    path = tmp_path / "mgif-512.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + CONFIG.replace("\n", "\r\n").encode())
    assert read_config(path) == FommConfig(512, 0.05, 3, 0.01, 0.125, 0.125)
    values = parse_yaml(CONFIG)
    assert values["train_params"]["loss_weights"]["perceptual"] == [10] * 5
    assert values["visualizer_params"]["colormap"] == "gist_rainbow"
    path.write_text("model_params:\n  common_params:\n    num_kp: 10\n")
    assert read_config(path) == FommConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it has no model_params"),
        ("a: 1\nb\n", "line 2 is not understood: 'b'"),
        ("model_params: 3", "model_params is not a mapping, but 3"),
        (CONFIG.replace("0.05", "-1"), "temperature must be a number above 0, found -1"),
        (CONFIG.replace("0.05", "warm"), "temperature must be a number above 0, found 'warm'"),
        (CONFIG.replace("pad: 3", "pad: 9"), "pad must be a whole number from 0 to 3, found 9"),
        (
            CONFIG.replace("[512, 512, 3]", "[512, 256, 3]"),
            r"frame_shape must be that of square pictures, .*\[512, 256",
        ),
        ("\0\xff", "line 1 is not understood"),
    ],
)
def test_a_config_that_is_none_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_config_reaches_the_bundle_and_one_of_another_model_is_refused(
    fomm_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, config = tmp_path / "mgif.pth.tar", tmp_path / "mgif.yaml"
    write(fomm_checkpoint, path, [reduced_by(8), one_map])
    config.write_text(CONFIG)
    exported: list[Any] = []
    monkeypatch.setattr(import_fomm, "export_bundle", lambda model, *_, **__: exported.append(model.config))
    monkeypatch.setattr(import_fomm, "print_summary", lambda *_: None)
    assert import_fomm.main([str(path), str(tmp_path / "out"), "--config", str(config)]) == 0
    (network,) = exported
    assert (network.image_size, network.motion_size, network.detector_padding) == (512, 64, 3)
    assert (network.temperature, network.heatmap_variance) == (0.05, 0.01)
    assert import_fomm.main([str(fomm_checkpoint), str(tmp_path / "out"), "--config", str(config)]) == 1
    error = capsys.readouterr().err
    assert "reduces pictures to 1/4, and the scale_factor of the config's kp_detector_params is 0.125" in error
    assert import_fomm.main([str(path), str(tmp_path / "out"), "--config", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: No such file or directory" in capsys.readouterr().err


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("vox-cpk.pth.tar", content)
    return buffer.getvalue()


def tarred(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("vox-cpk.pth")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class RunsCode:
    """What runs code when it is loaded by pickle alone."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("never",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda c: b"\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>",
            "it is a web page, not a",
        ),
        (lambda c: b"", "the file is empty"),
        (lambda c: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (tarred, "it is a tar archive: unpack it"),
        (zipped, "it is a zip archive without a checkpoint"),
        (gzip.compress, "it is a gzip archive"),
        (lambda c: c[: len(c) // 2], "its end is not that of a checkpoint; fetch or train it again"),
        (lambda c: pickle.dumps({"generator": RunsCode()}), "not a PyTorch file of tensors"),
    ],
)
def test_what_people_give_for_a_checkpoint_is_said_in_one_line(
    make: Callable[[bytes], bytes], message: str, fomm_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "vox-cpk.pth.tar"
    path.write_bytes(make(fomm_checkpoint.read_bytes()))
    with pytest.raises(ModelError, match=message) as caught:
        import_model(path, 256)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not (tmp_path / "never").exists()


def test_pickled_extras_are_named_and_not_loaded(fomm_checkpoint: Path, tmp_path: Path) -> None:
    values = torch.load(fomm_checkpoint, weights_only=True)
    torch.save(values | {"config": Path("vox.yaml")}, tmp_path / "extra.pth.tar")
    with pytest.raises(ModelError, match=r"it holds pathlib[\w.]*, which is neither a tensor nor a plain value"):
        import_model(tmp_path / "extra.pth.tar", 256)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are not files here")
def test_folders_and_pipes_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "vox-cpk.pth").mkdir()
    with pytest.raises(ModelError, match="it is a folder; give the file itself"):
        import_model(tmp_path / "vox-cpk.pth", 256)
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="it is a pipe or a device"):
        import_model(tmp_path / "pipe.pth", 256)
