"""Every engine computes what PyTorch computes, and none computes elsewhere than it was asked to."""

import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from avatarify_plus import app, engines, live
from avatarify_plus.bundle import Bundle
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine, choose_engine, nvidia, open_engine
from avatarify_plus.engines.nvidia import Gpu
from avatarify_plus.errors import EngineError
from avatarify_plus.program.command_line import configure_logging
from fakes import EXAMPLES, FakeEngine, example_driver, write_video
from scenes import animate, scene

BUNDLES = ("blend_bundle", "ours_bundle", "fomm_bundle", "mixed_bundle", "photo_bundle")
NAMES = ("torch", "onnxruntime", "openvino")
FLOAT32_LEVELS = 1
"""Where float32 engines may differ: rounding falls either way."""
DEFAULT_LEVELS = 3
"""bfloat16 has 8 bits."""
KEYPOINT_TOLERANCE = 1e-5


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    found: Bundle = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest, blend_bundle: Bundle) -> Iterator[Engine]:
    with open_engine(blend_bundle, request.param, threads=1, precision="fp32") as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "precision", "levels"),
    [
        ("onnxruntime", "fp32", FLOAT32_LEVELS),
        ("openvino", "fp32", FLOAT32_LEVELS),
        ("openvino", "auto", DEFAULT_LEVELS),
        ("torch", "bf16", DEFAULT_LEVELS),
    ],
)
def test_engines_agree_with_torch(bundle: Bundle, name: str, precision: str, levels: int) -> None:
    shown = scene(bundle)
    with open_engine(bundle, "torch", threads=1) as torch_engine, open_engine(bundle, name, 1, precision) as engine:
        expected, found = animate(torch_engine, shown), animate(engine, shown)
        assert found.shape == expected.shape and found.dtype == np.uint8
        assert expected.std() > 2, "a picture with nothing in it proves nothing"
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= levels
        assert difference.mean() < 0.2
        if bundle.config.detected_count:
            for left, right in zip(engine.detect(shown.driving), torch_engine.detect(shown.driving), strict=True):
                assert left.shape == right.shape and left.dtype == np.float32
                np.testing.assert_allclose(left, right, atol=KEYPOINT_TOLERANCE)


def test_the_picture_follows_source_and_driver(engine: Engine, blend_bundle: Bundle) -> None:
    first, second = scene(blend_bundle, 1), scene(blend_bundle, 2)
    source = engine.encode_source(first.source, first.source_keypoints)
    np.testing.assert_array_equal(source.keypoints.value, first.source_keypoints.value)
    picture = engine.animate(source, first.driving_keypoints)
    kept = picture.copy()
    other = engine.encode_source(second.source, first.source_keypoints)
    assert np.abs(engine.animate(other, first.driving_keypoints).astype(int) - kept).mean() > 5
    assert not np.array_equal(engine.animate(other, second.driving_keypoints), kept)
    np.testing.assert_array_equal(picture, kept, err_msg="the picture is the caller's to keep")
    again = engine.animate(source, first.driving_keypoints)
    np.testing.assert_array_equal(again, kept, err_msg="a source outlives the next one")


def test_detected_keypoints_are_the_callers(ours_bundle: Bundle) -> None:
    shown = scene(ours_bundle)
    for name in NAMES:
        with open_engine(ours_bundle, name, threads=1) as engine:
            first = engine.detect(shown.source)
            kept = first.value.copy(), first.jacobian.copy()
            assert not np.array_equal(engine.detect(shown.driving).value, kept[0])
            np.testing.assert_array_equal(first.value, kept[0])
            np.testing.assert_array_equal(first.jacobian, kept[1])


def test_a_mesh_model_detects_nothing(engine: Engine, blend_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"tiny-skip has no keypoint detector: .* face mesh"):
        engine.detect(scene(blend_bundle).source)


def test_pictures_of_another_form_are_refused(engine: Engine, blend_bundle: Bundle) -> None:
    shown = scene(blend_bundle)
    for image in (shown.source[::2], shown.source[..., :1], shown.source.astype(np.float32)):
        with pytest.raises(EngineError, match=r"takes \(256, 256, 3\) uint8 pictures, found"):
            engine.encode_source(image, shown.source_keypoints)


def test_engines_say_who_they_are(engine: Engine, blend_bundle: Bundle) -> None:
    assert engine.name in NAMES
    assert "CPU" in engine.device
    assert engine.config == blend_bundle.config


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("openvino", "openvino", "openvino"),
        ("onnxruntime", "onnxruntime", "onnxruntime"),
        ("onnxruntime-cuda", "onnxruntime", "onnxruntime-gpu"),
        ("onnxruntime-directml", "onnxruntime", "onnxruntime-directml"),
        ("onnxruntime-coreml", "onnxruntime", "onnxruntime"),
        ("torch", "torch", "torch"),
        ("torch-cuda", "torch", "torch"),
        ("torch", "safetensors", "safetensors"),
    ],
)
def test_a_missing_library_is_named(
    blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    hide(monkeypatch, module)
    with pytest.raises(EngineError, match=f"engine {name} cannot be loaded .*: pip install {package}$"):
        open_engine(blend_bundle, name)


def hide(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Let the engines find a library no more."""
    monkeypatch.setitem(sys.modules, library, None)
    engine = "torch" if library == "safetensors" else library
    for module in (f"avatarify_plus.engines.{engine}_engine", "avatarify_plus.network.weights"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_there_is_no_fallback_from_the_gpu(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"torch-cuda needs an NVIDIA GPU"):
        open_engine(blend_bundle, "torch-cuda")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match=r"needs CUDAExecutionProvider, .*onnxruntime-gpu"):
        open_engine(blend_bundle, "onnxruntime-cuda")

    class SlySession:
        def __init__(self, *_: object, providers: list[str], enable_fallback: int, **options: object) -> None:
            assert providers == ["CUDAExecutionProvider"]
            assert not enable_fallback

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", SlySession)
    with pytest.raises(EngineError, match=r"asked for CUDAExecutionProvider and chose CPUExecutionProvider"):
        open_engine(blend_bundle, "onnxruntime-cuda")


def test_wrong_options_are_refused(blend_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="unknown engine 'abacus': choose one of auto, openvino"):
        open_engine(blend_bundle, "abacus")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="at least 1 thread, found 0"):
        open_engine(blend_bundle, threads=0)


# --- auto ---


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an NVIDIA driver."""

    def fail(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(nvidia.ctypes, "CDLL", fail)


def opened(monkeypatch: pytest.MonkeyPatch, works: dict[str, bool]) -> list[str]:
    """Let engines by these names open or fail without opening any; return those that were tried."""
    tried: list[str] = []

    def open_fake(
        bundle: Bundle, name: str = "auto", threads: int | None = None, precision: str = "auto", gpu: int = 0
    ) -> FakeEngine:
        tried.append(name)
        if not works[name]:
            raise EngineError(f"{name} is out of order")
        return FakeEngine()

    monkeypatch.setattr(engines, "open_engine", open_fake)
    return tried


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_openvino_and_says_why(blend_bundle: Bundle) -> None:
    with choose_engine(blend_bundle, threads=1).engine as engine:
        assert engine.name == "openvino"
    with open_engine(blend_bundle, threads=1) as engine:
        assert engine.name == "openvino"
    choice = choose_engine(blend_bundle, threads=1)
    choice.engine.close()
    chosen, _, others = choice.reason.partition("; passed over: ")
    assert chosen == f"openvino on {choice.engine.device}"
    assert "onnxruntime-cuda (no NVIDIA driver), torch-cuda (no NVIDIA driver)" in others


@pytest.mark.usefixtures("no_gpu")
def test_auto_goes_on_where_a_library_is_missing(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino")
    with choose_engine(blend_bundle, threads=1).engine as engine:
        assert engine.name == "onnxruntime"
    choice = choose_engine(blend_bundle, threads=1)
    choice.engine.close()
    assert choice.reason.endswith(", openvino (not installed)")


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_an_engine_that_computes_in_the_precision(blend_bundle: Bundle) -> None:
    choice = choose_engine(blend_bundle, threads=1, precision="bf16")
    choice.engine.close()
    assert choice.engine.precision == "bf16"
    with pytest.raises(EngineError, match=r"no engine works here: .*openvino \(.*not in 'fp16'\), onnxruntime \("):
        open_engine(blend_bundle, threads=1, precision="fp16")


def test_auto_prefers_a_gpu_and_keeps_the_reasons(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_gpu", lambda *_: Gpu("NVIDIA Test", 9))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: object())
    works = dict.fromkeys(engines.AUTO_ORDER, False)
    tried = opened(monkeypatch, works | {"torch-cuda": True})
    choice = choose_engine(blend_bundle)
    assert tried[-2:] == ["onnxruntime-cuda", "torch-cuda"] and "openvino" not in tried
    assert choice.reason.startswith("torch-cuda on thin air; passed over: ")
    assert choice.reason.endswith("onnxruntime-cuda (onnxruntime-cuda is out of order)")
    opened(monkeypatch, works)
    with pytest.raises(EngineError, match=r"no engine works here: .*, torch \(torch is out of order\)$"):
        choose_engine(blend_bundle)


def test_a_run_logs_its_engine_and_why(
    blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    opened(monkeypatch, dict.fromkeys(engines.AUTO_ORDER, False) | {"torch": True})
    monkeypatch.setattr(live, "open_engine", engines.open_engine)
    config = AppConfig(
        avatar=(EXAMPLES / "avatar_2.jpg",),
        camera=str(write_video(tmp_path / "driver.mp4", example_driver(2))),
        output=tmp_path / "avatar.mp4",
        model=str(blend_bundle.folder),
    )
    caplog.set_level(logging.INFO, "avatarify_plus.live")
    for name, logged in (("auto", "engine torch on thin air; passed over: .*"), ("torch", "engine fake on thin air")):
        caplog.clear()
        assert live.run(replace(config, engine=name)).frame_count == 2  # type: ignore[arg-type]
        assert re.fullmatch(logged, caplog.messages[0])


def test_the_engine_is_logged_but_not_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    loggers = [logging.getLogger(name) for name in ("avatarify_plus", "avatarify_plus.live")]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", logger.level)
    configure_logging(False, app.INFO_LOGGERS)
    assert loggers[1].isEnabledFor(logging.INFO) and not loggers[1].isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("avatarify_plus.engines.openvino_engine").isEnabledFor(logging.INFO)
    configure_logging(True, app.INFO_LOGGERS)
    assert loggers[1].isEnabledFor(logging.DEBUG)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_driver_no_gpu_library_is_loaded(blend_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = opened(monkeypatch, dict.fromkeys(engines.AUTO_ORDER, True))
    assert choose_engine(blend_bundle).engine.name == "fake"
    assert tried == ["openvino"]


def test_the_driver_is_asked_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class FrameSource:
        """Two calls of CUDA's driver API write what they find through their pointers."""

        def __init__(self, status: int) -> None:
            self.cuInit = self.cuDeviceGet = lambda *_: status

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 2
            return 0

        def cuDeviceGetName(self, name: Any, length: int, device: object) -> int:  # noqa: N802
            name.value = b"NVIDIA Test"
            return 0

        def cuDeviceGetAttribute(self, value: Any, attribute: int, device: object) -> int:  # noqa: N802
            value._obj.value = 7
            return 0

    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: FrameSource(0))
    assert nvidia.find_gpu() == Gpu("NVIDIA Test", 7)
    assert not nvidia.find_gpu().has_tf32 and Gpu("newer", 8).has_tf32
    assert nvidia.find_gpu(1).name == "NVIDIA Test"
    with pytest.raises(EngineError, match="there is no GPU 2: the NVIDIA driver finds 2, counted from 0"):
        nvidia.find_gpu(2)
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name: FrameSource(100))
    with pytest.raises(EngineError, match="finds no GPU, CUDA error 100"):
        nvidia.find_gpu()
