"""The app is measured beside other projects' networks, from folders that are given; tiny ones stand in for them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus.errors import DataError
from export import field_benchmark
from export.field_benchmark import Turn, main, measure, rival, table

yaml = pytest.importorskip("yaml", reason="reads the other projects' settings")

DETECTOR = """
import torch
class KPDetector(torch.nn.Module):
    def __init__(self, block_expansion, num_kp):
        super().__init__()
        self.num_kp = num_kp
    def forward(self, x):
        return {"value": x.mean((2, 3))[:, None, :2].repeat(1, self.num_kp, 1)}
"""
GENERATOR = """
import torch
class OcclusionAwareGenerator(torch.nn.Module):
    def __init__(self, max_features, num_kp):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 3, 1)
    def forward(self, source, kp_driving, kp_source):
        shift = (kp_driving["value"] - kp_source["value"]).mean()
        return {"prediction": self.layer(source) + shift}
"""
MOTION = """
import torch
class MotionExtractor(torch.nn.Module):
    def __init__(self, num_kp):
        super().__init__()
        self.num_kp = num_kp
    def forward(self, x):
        return {"kp": x.mean((1, 2, 3))[:, None].repeat(1, 3 * self.num_kp)}
"""
APPEARANCE = """
import torch
class AppearanceFeatureExtractor(torch.nn.Module):
    def __init__(self, block_expansion):
        super().__init__()
    def forward(self, x):
        return x[:, :1]
"""
WARPING = """
import torch
class WarpingNetwork(torch.nn.Module):
    def __init__(self, num_kp):
        super().__init__()
        self.shape = (1, num_kp, 3)
    def forward(self, feature_3d, kp_driving, kp_source):
        assert kp_driving.shape == kp_source.shape == self.shape
        return {"out": feature_3d + (kp_driving - kp_source).mean()}
"""
DECODER = """
import torch
class SPADEDecoder(torch.nn.Module):
    def __init__(self, upscale):
        super().__init__()
        self.upscale = upscale
    def forward(self, feature):
        return torch.nn.functional.interpolate(feature.repeat(1, 3, 1, 1), scale_factor=self.upscale)
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def fomm(tmp_path: Path) -> Path:
    parameters = {
        "common_params": {"num_kp": 10},
        "kp_detector_params": {"block_expansion": 32},
        "generator_params": {"max_features": 512},
    }
    files = {"modules/__init__.py": "", "modules/keypoint_detector.py": DETECTOR, "modules/generator.py": GENERATOR}
    return write(tmp_path / "fomm", {**files, "config/vox-256.yaml": yaml.safe_dump({"model_params": parameters})})


@pytest.fixture
def live_portrait(tmp_path: Path) -> Path:
    parameters = {
        "appearance_feature_extractor_params": {"block_expansion": 64},
        "motion_extractor_params": {"num_kp": 21},
        "warping_module_params": {"num_kp": 21},
        "spade_generator_params": {"upscale": 2},
    }
    modules = {
        "appearance_feature_extractor": APPEARANCE,
        "motion_extractor": MOTION,
        "warping_network": WARPING,
        "spade_generator": DECODER,
    }
    files = {f"src/modules/{name}.py": text for name, text in modules.items()}
    return write(tmp_path / "lp", {**files, "src/config/models.yaml": yaml.safe_dump({"model_params": parameters})})


def test_networks_of_checkouts_are_timed_in_processes_of_their_own(fomm: Path, live_portrait: Path) -> None:
    for turn in (rival("fomm", fomm, 256, 1), rival("liveportrait", live_portrait, 512, 1)):
        assert 0 < turn.ms < 1000 * turn.first_picture_s and turn.peak_memory_mb > 50


def test_everybody_takes_turns_and_is_compared_at_one_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order: list[Any] = []
    times = {("ours", 256): 10.0, ("ours", 512): 20.0, ("fomm", 256): 50.0, ("fomm", 512): 300.0}

    def turn(name: str, size: int) -> Turn:
        order.append((name, size))
        slower = 1 + 0.1 * (len(order) > 4)  # the machine of the second round
        return Turn(slower * times[name, size], 1.0, 400.0 if name == "ours" else 800.0)

    monkeypatch.setattr(field_benchmark, "ours", lambda size, threads: (turn("ours", size), {"cpu": "A"}))
    monkeypatch.setattr(field_benchmark, "rival", lambda name, checkout, size, threads: turn(name, size))
    standings, machine = measure({"fomm": tmp_path}, 2, 2)
    assert machine == {"cpu": "A"}
    assert order == 2 * [("ours", 256), ("ours", 512), ("fomm", 256), ("fomm", 512)]
    assert [(found.name, found.size) for found in standings] == [
        *(("live-256", 256), ("fomm", 256)),
        *(("live-512", 512), ("fomm", 512)),
    ]
    assert [round(found.to_ours_time, 6) for found in standings] == [1, 5, 1, 15]
    assert standings[1].ms == pytest.approx(52.5) and standings[1].to_ours_memory == 2
    assert "| `fomm` | 512 | 315.0 | 3.17 | 15.0 | 1.0 s | 800 MB | 2.0 |" in table(standings)


@pytest.mark.parametrize(
    ("name", "changed", "error"),
    [
        ("config/vox-256.yaml", None, "cannot read .*vox-256.yaml"),
        ("config/vox-256.yaml", "[1, 2]", "has no model_params"),
        ("config/vox-256.yaml", "a: [", "cannot read .*vox-256.yaml"),
        ("modules/generator.py", None, "is no checkout of fomm that can be used"),
        ("modules/generator.py", GENERATOR.replace("max_features", "width"), "is no checkout of fomm that can be used"),
        ("modules/generator.py", GENERATOR.replace("(source) +", "(source)[..., 1:] +"), "not of 256 px"),
    ],
)
def test_what_is_no_checkout_is_one_line(fomm: Path, name: str, changed: str | None, error: str) -> None:
    (fomm / name).unlink()
    if changed is not None:
        (fomm / name).write_text(changed)
    with pytest.raises(DataError, match=error):
        rival("fomm", fomm, 256, 1)


def test_nothing_to_compare_with_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "nothing to compare with: give --fomm or --liveportrait" in capsys.readouterr().err


def test_another_size_of_live_portrait_is_one_line(live_portrait: Path) -> None:
    program = Path(field_benchmark.__file__).with_name("field_rivals.py")
    command = [sys.executable, str(program), "liveportrait", str(live_portrait), "--size", "256"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "LivePortrait makes pictures of 512 px, not 256" in done.stderr


def test_the_app_takes_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str]) -> Any:
        asked.append(command)
        start = {"first_picture_s": 1.5, "peak_memory_mb": 400.0, "frame_count": 50}
        return json.loads(
            json.dumps({"results": [{"speed": {"ms": {"picture": {"p50": 25.0}}}, "start": start}], "machine": {}})
        )

    monkeypatch.setattr(field_benchmark, "_run", run)
    assert field_benchmark.ours(512, 2) == (Turn(25.0, 1.5, 400.0), {})
    assert asked[0][asked[0].index("--model") + 1] == "live-512"
