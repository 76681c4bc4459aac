"""A model shows something at its first picture, or is refused."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from avatarify_plus import engines, live, load_animator
from avatarify_plus.bench.contender import parse_contender
from avatarify_plus.bundle import WEIGHTS, Bundle, open_bundle, write_manifest
from avatarify_plus.config import AppConfig
from avatarify_plus.doctor.engines import refusal
from avatarify_plus.engines import open_engine
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.program.checkout import child_environment
from avatarify_plus.program.deadline import deadline
from fakes import FakeEngine


def poisoned(bundle: Bundle, folder: Path) -> Bundle:
    """Return a copy of a bundle whose convolutions' weights are not numbers, with the hashes that belong to them."""
    shutil.copytree(bundle.folder, folder)
    for path in folder.glob("*.onnx"):
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32 and array.ndim == 4:
                tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), tensor.name))
        path.write_bytes(model.SerializeToString())
    weights = {
        name: torch.full_like(tensor, torch.nan) if tensor.dim() == 4 else tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS)
    write_manifest(folder, bundle.manifest)
    return open_bundle(folder)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_weights_that_are_not_numbers_are_noticed(ours_bundle: Bundle, tmp_path: Path, name: Any) -> None:
    with pytest.raises(ModelError, match=r"the model is damaged: its first (keypoints are not numbers|picture shows)"):
        open_engine(poisoned(ours_bundle, tmp_path / "nan"), name, threads=1)


class Dull(FakeEngine):
    """An engine whose picture lacks a colour."""

    colours = (200, 100, 0)

    def animate(self, source: Any, keypoints: Any) -> Any:
        return np.full((64, 64, 3), self.colours, np.uint8)


def test_a_picture_without_one_of_its_colours_is_none() -> None:
    with pytest.raises(ModelError, match="its first picture shows nothing"):
        warm_up(Dull())  # type: ignore[arg-type]


def test_what_cannot_be_computed_is_the_engines_fault() -> None:
    class Broken(FakeEngine):
        def animate(self, source: Any, keypoints: Any) -> Any:
            raise RuntimeError("out of memory\nsomewhere in a library")

    with pytest.raises(
        EngineError, match=r"cannot compute the model on thin air: out of memory; choose another engine$"
    ):
        warm_up(Broken())  # type: ignore[arg-type]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every engine take long to open, wait for little, and note exit codes instead of ending."""
    codes: list[int] = []
    monkeypatch.setattr(engines, "START_LIMIT_S", 0.02)
    monkeypatch.setattr(engines, "GPU_START_LIMIT_S", 60.0)
    monkeypatch.setattr(engines, "deadline", functools.partial(deadline, end=codes.append))
    monkeypatch.setattr(engines, "_open_runtime", lambda *_: time.sleep(0.3) or FakeEngine())
    return codes


@pytest.mark.parametrize(
    "open_it",
    [
        lambda folder: live.open_wanted_engine(AppConfig(avatar=(Path("a.jpg"),), model=folder, engine="onnxruntime")),
        lambda folder: load_animator(folder, "openvino"),
        lambda folder: parse_contender(f"onnxruntime@{folder}", "").open(threads=None),
        lambda folder: refusal(open_bundle(folder), "openvino"),
        lambda folder: open_engine(open_bundle(folder), "torch"),
    ],
    ids=["app", "library", "bench", "doctor", "engine"],
)
def test_a_model_without_a_first_picture_ends_each_program_with_a_line(
    ours_bundle: Bundle, ended: list[int], capsys: pytest.CaptureFixture[str], open_it: Callable[[str], Any]
) -> None:
    open_it(str(ours_bundle.folder))
    assert ended == [1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "avatarify: error: the model tiny-ours gave no picture within 0 s: choose another model or engine"


def test_a_gpu_may_compile_its_kernels_first(ours_bundle: Bundle, ended: list[int]) -> None:
    open_engine(ours_bundle, "torch-cuda")
    assert not ended


ENDLESS = """
import sys
from avatarify_plus import engines, load_animator
engines.START_LIMIT_S = 1.0
load_animator(sys.argv[1], "onnxruntime", threads=1)
"""


def endless(bundle: Bundle, folder: Path) -> Bundle:
    """Return a copy of a bundle that multiplies large matrices for an hour before it shows anything."""
    shutil.copytree(bundle.folder, folder)
    model = onnx.load(folder / "animate.onnx")
    graph, name = model.graph, model.graph.output[0].name
    last = next(node for node in graph.node if name in node.output)
    last.output[list(last.output).index(name)] = "shown"
    numbers = graph.input[0].name
    graph.initializer.append(numpy_helper.from_array(np.array([4096, 4096]), "large"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), "nothing"))
    graph.node.append(helper.make_node("ReduceMax", [numbers], ["most"], keepdims=0))
    graph.node.append(helper.make_node("Cast", ["most"], ["number"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Expand", ["number", "large"], ["product0"]))
    for turn in range(3600):
        graph.node.append(helper.make_node("MatMul", [f"product{turn}", "product0"], [f"product{turn + 1}"]))
    graph.node.append(helper.make_node("ReduceMin", ["product3600"], ["least"], keepdims=0))
    graph.node.append(helper.make_node("Cast", ["least"], ["level"], to=TensorProto.UINT8))
    graph.node.append(helper.make_node("Mul", ["level", "nothing"], ["zero"]))
    graph.node.append(helper.make_node("Add", ["shown", "zero"], [name]))
    onnx.save(model, folder / "animate.onnx")
    write_manifest(folder, bundle.manifest)
    return open_bundle(folder)


def test_a_model_that_computes_for_an_hour_is_not_waited_for(ours_bundle: Bundle, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDLESS, str(endless(ours_bundle, tmp_path / "endless").folder)]
    ended = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert ended.stderr == (
        "avatarify: error: the model tiny-ours gave no picture within 1 s: choose another model or engine\n"
    )
