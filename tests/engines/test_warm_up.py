"""A model shows something at its first picture, or is refused."""

from __future__ import annotations

import functools
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from avatarify_plus import engines, live
from avatarify_plus.bundle import WEIGHTS, Bundle, open_bundle, write_manifest
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import open_engine, start_limit_s
from avatarify_plus.engines.warm_up import warm_up
from avatarify_plus.errors import EngineError, ModelError
from avatarify_plus.program.deadline import deadline
from fakes import EXAMPLES, FakeEngine


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


def test_a_program_waits_for_a_first_picture_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu(name: str, gpu: int = 0) -> None:
        if name in engines.ON_NVIDIA:
            raise EngineError("no NVIDIA driver")

    monkeypatch.setattr(engines, "require_parts", no_gpu)
    assert start_limit_s("openvino") == start_limit_s("auto") == start_limit_s("tensorrt") == engines.START_LIMIT_S
    monkeypatch.setattr(engines, "require_parts", lambda name, gpu=0: None)
    assert start_limit_s("openvino") < start_limit_s("tensorrt") == start_limit_s("auto") == engines.GPU_START_LIMIT_S


def test_a_model_that_never_ends_ends_the_program_with_a_line(
    ours_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(live, "start_limit_s", lambda *_: 0.02)
    monkeypatch.setattr(live, "deadline", functools.partial(deadline, end=ended.append))
    monkeypatch.setattr(live, "open_engine", lambda *_, **__: time.sleep(0.5) or FakeEngine())
    live.open_wanted_engine(
        AppConfig(avatar=(EXAMPLES / "avatar_2.jpg",), model=str(ours_bundle.folder), engine="onnxruntime")
    )
    assert ended == [1]
    assert "tiny-ours gave no picture within 0 s: choose another --model or --engine" in capsys.readouterr().err
