"""The doctor: what each check says of a machine, and that nothing a check does can stop the others."""

import ast
import importlib
import json
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avatarify_plus.bench.report import PICTURE, Percentiles, Speed
from avatarify_plus.bundle import SHIPPED, open_bundle
from avatarify_plus.camera import CameraDevice
from avatarify_plus.doctor import cameras, doctor, engines, gpu, installation, model, outputs, speed, storage
from avatarify_plus.doctor import finding as finding_module
from avatarify_plus.doctor.finding import FAILED, OK, REPORT, WARNING, Finding, Wanted, install_fix, name_of, of_error
from avatarify_plus.doctor.installation import NOTHING_INSTALLED
from avatarify_plus.doctor.isolation import findings_of
from avatarify_plus.engines.nvidia import Gpu
from avatarify_plus.errors import CameraError, EngineError, VirtualCameraError
from avatarify_plus.program import checkout as checkout_module
from avatarify_plus.program.command_line import NEWEST_PYTHON, OLDEST_PYTHON
from avatarify_plus.program.stop import interrupt_on_signal
from avatarify_plus.sinks.virtual_camera import Backend
from avatarify_plus.types import Frame, Image
from fakes import EXAMPLES, plain_picture

ROOT = Path(__file__).resolve().parents[2]
GROUPS = [importlib.import_module(f"avatarify_plus.doctor.{name}") for name in doctor.GROUPS]
CHECKS = [check for group in GROUPS for check in group.CHECKS]
REQUIRED = ["numpy>=1.26", "mediapipe==0.10.31", "onnxruntime>=1.20", 'pywin32>=300; sys_platform == "nowhere"']
FOUND = {"numpy": "2.4.6", "mediapipe": "0.10.31", "onnxruntime": "1.31.1"}


def state(finding: Finding | None) -> str:
    """Return a finding's state after looking at its form."""
    assert finding is not None
    assert bool(finding.fix) == (finding.state != OK), finding
    assert "\n" not in finding.message + finding.fix
    return finding.state


# --- isolation ---

TROUBLE = """
import os, signal, sys, time
from avatarify_plus.doctor.finding import OK, Finding

def first(wanted):
    print("greetings", file=sys.stderr)
    os.write(1, b"from C\\n")
    return Finding("first", OK, f"of {wanted.model}")

def raises(wanted):
    raise ValueError("two\\nlines")

def absent(wanted):
    return None

def dies(wanted):
    os.write(2, b"I greet you\\ncould not load the plugin\\ncheerio\\n")
    os.abort()

def cannot(wanted):
    os.kill(os.getpid(), signal.SIGILL)

def leaves(wanted):
    os._exit(3)

def last(wanted):
    return Finding("last", OK, "still here")

CHECKS = (first, raises, absent, dies, cannot, leaves, last)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return what writes a module that other processes can import, too."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write


def test_whatever_a_check_does_the_others_go_on(module: Any, capfd: pytest.CaptureFixture[str]) -> None:
    findings = {finding.name: finding for finding in findings_of(module("trouble", TROUBLE), Wanted("mine"))}
    assert list(findings) == ["first", "raises", "dies", "cannot", "leaves", "last"]
    assert findings["first"] == Finding("first", OK, "of mine")
    assert findings["last"].state == OK
    assert findings["raises"] == Finding("raises", FAILED, "cannot be checked: ValueError: two", REPORT)
    assert "(SIGABRT): could not load the plugin" in findings["dies"].message
    assert findings["leaves"].message.endswith("(3)")
    assert "AVX" in findings["cannot"].fix
    assert capfd.readouterr() == ("", "")


def test_a_check_that_hangs_has_failed(module: Any) -> None:
    text = TROUBLE + "def hangs(wanted):\n    time.sleep(1000)\nCHECKS = (hangs, last)\n"
    hung, last = findings_of(module("hanging", text), Wanted(), limit_s=4)
    assert (hung.name, hung.state) == ("hangs", FAILED)
    assert "within 4 s" in hung.message
    assert last.state == OK


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise RuntimeError('numpy is broken')", "RuntimeError: numpy is broken"),
        ("import os; os._exit(7)", "ended the program (7)"),
    ],
)
def test_a_group_that_cannot_be_loaded_is_one_finding(module: Any, text: str, message: str) -> None:
    (finding,) = findings_of(module("broken", text), Wanted())
    assert finding.name == "broken"
    assert state(finding) == FAILED
    assert message in finding.message


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (ImportError("No module named 'cv2'", name="cv2"), re.escape(install_fix())),
        (ImportError("libGL.so.1: cannot open shared object file: No such file"), "sudo apt install libgl1 "),
        (ImportError("libodd.so.7: cannot open shared object file: No such file"), "package that has libodd.so.7 "),
        (ImportError("DLL load failed while importing cv2: not found"), "vc_redist.x64.exe"),
        (ImportError("cannot import name 'x'", name="avatarify_plus.live"), "download this program again"),
        (KeyError(), re.escape(REPORT)),
        (EngineError("no engine works here"), "fix what failed above"),
    ],
)
def test_what_cannot_be_imported_has_its_fix(error: Exception, fix: str) -> None:
    finding = of_error("x", error)
    assert state(finding) == FAILED
    assert re.search(fix, finding.fix)


# --- the command line ---


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What every group finds; a test may change it."""
    findings = [Finding("a thing", OK, "fine")]
    monkeypatch.setattr(doctor, "findings_of", lambda group, wanted: iter(findings))
    monkeypatch.setattr(doctor, "GROUPS", ("one", "two"))
    return findings


def test_a_healthy_machine_is_ready(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == ["ok       a thing           fine"] * 2
    assert lines[-1] == "2 ok, 0 warnings, 0 failed: ready for python run.py --avatar face.jpg"


def test_a_failure_is_printed_with_its_fix(found: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    found += [Finding("b", WARNING, "so so", "do this"), Finding("c", FAILED, "bad", "do that")]
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["warning", "b", "so", "so"]
    assert lines[2].split() == ["fix:", "do", "this"]
    assert lines[-1].startswith("2 ok, 2 warnings, 2 failed: fix")


def test_warnings_alone_are_no_failure(found: list[Finding]) -> None:
    found[0] = Finding("b", WARNING, "so so", "do this")
    assert doctor.main([]) == 0


@pytest.mark.parametrize(
    "finding",
    [
        Finding("python", FAILED, "too old", "install another"),
        Finding("packages", FAILED, NOTHING_INSTALLED, install_fix()),
    ],
)
def test_what_forbids_all_else_is_printed_alone(
    found: list[Finding], finding: Finding, capsys: pytest.CaptureFixture[str]
) -> None:
    found.insert(0, finding)
    assert doctor.main([]) == 1
    assert "a thing" not in capsys.readouterr().out


def test_json_has_everything(found: list[Finding], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found.append(Finding("c", FAILED, "bad", "do that"))
    assert doctor.main(["--json", str(tmp_path / "report.json")]) == 1
    assert "do that" in capsys.readouterr().out
    assert doctor.main(["--json", "-"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["findings"] == json.loads((tmp_path / "report.json").read_text())["findings"]
    assert values["findings"][1] == {"name": "c", "state": "failed", "message": "bad", "fix": "do that"}
    assert values["machine"]["python"].startswith("3.")
    assert "numpy" in values["machine"]["packages"]


def test_a_report_that_cannot_be_written_is_one_line(
    found: list[Finding], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(["--json", str(tmp_path / "nowhere" / "report.json")]) == 1
    assert re.fullmatch("avatarify: error: cannot write .*; choose another file for --json\n", capsys.readouterr().err)


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        doctor.main(["--cure"])
    assert caught.value.code == 2


def test_checks_have_names_of_their_own() -> None:
    names = [name_of(check) for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 17 for name in names)


def test_the_whole_run_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "avatarify_plus", "doctor", "--json", "-"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    findings = {value["name"]: Finding(**value) for value in json.loads(done.stdout)["findings"]}
    assert done.stderr == ""
    assert done.returncode == any(state(finding) == FAILED for finding in findings.values())
    assert set(findings) <= {name_of(check) for check in CHECKS}, "every check carries its function's name"
    for name in ("python", "packages", "model", "face mesh", "engines", "automatic choice"):
        assert findings[name].state == OK, findings[name]
    assert "cannot be checked" not in done.stdout
    assert "frames a second" in findings["speed"].message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself these signals")
def test_a_signal_while_a_check_starts_ends_its_process(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start = multiprocessing.get_context("spawn").Process.start

    def start_and_interrupt(process: Any) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        start(process)
        started.append(process)

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", start_and_interrupt)
    with interrupt_on_signal() as let_in:
        let_in()
        with pytest.raises(KeyboardInterrupt):
            list(findings_of(module("trouble", TROUBLE), Wanted()))
    (process,) = started
    assert process.exitcode == -signal.SIGKILL


# --- Python and packages ---


def test_what_looks_at_python_loads_with_any_python_and_nothing_installed() -> None:
    waiting, seen = ["avatarify_plus.doctor.doctor", "avatarify_plus.doctor.installation"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        path = ROOT / name.replace(".", "/")
        text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
        tree = ast.parse(text, feature_version=(3, 8))
        for node in tree.body:  # what is imported later may need more
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                own = imported.split(".")[0] == "avatarify_plus"
                assert own or imported.partition(".")[0] in sys.stdlib_module_names, f"{name} imports {imported}"
                if own and imported not in seen:
                    waiting.append(imported)
    doctors = {f"avatarify_plus.doctor.{name}" for name in ("doctor", "finding", "installation", "isolation")}
    names = ("checkout", "command_line", "ending", "examples", "model_option", "stop", "whole_file")
    programs = {f"avatarify_plus.program.{name}" for name in names}
    assert seen == doctors | programs | {"avatarify_plus", "avatarify_plus.errors", "avatarify_plus.native_log"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 9, 18), FAILED), ((3, 10, 0), OK), ((3, 14, 0), OK), ((3, 15, 0), FAILED)],
)
def test_pythons_are_those_that_the_packages_are_built_for(version: tuple[int, int, int], expected: str) -> None:
    assert state(installation.judge_python(version, "x86_64", True)) == expected
    oldest, newest = OLDEST_PYTHON, NEWEST_PYTHON
    wanted = f'requires-python = ">={oldest[0]}.{oldest[1]},<{newest[0]}.{newest[1] + 1}"'
    assert wanted in (ROOT / "pyproject.toml").read_text()


def test_32_bits_are_too_few() -> None:
    assert state(installation.judge_python((3, 11, 0), "i686", False)) == FAILED


def test_requirements_are_read_without_their_comments() -> None:
    lines = installation.required()
    assert "mediapipe==0.10.31" in [line.partition(";")[0] for line in lines]
    assert not [line for line in lines if "#" in line or line.startswith("-")]


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"mediapipe": None}, 'install "mediapipe==0.10.31"'),
        ({"mediapipe": "0.10.35", "numpy": "1.25.0"}, 'install "numpy>=1.26" "mediapipe==0.10.31"'),
        ({"onnxruntime": None}, 'install "onnxruntime>=1.20"'),
    ],
)
def test_a_missing_or_unfit_package_is_named_with_its_fix(change: dict[str, str | None], fix: str) -> None:
    found = {name: version for name, version in {**FOUND, **change}.items() if version is not None}
    finding = installation.judge_packages(REQUIRED, found)
    assert state(finding) == FAILED
    assert finding.fix.endswith(fix)
    assert all(name in finding.message for name in change)


INSTALLED = ["numpy>=1.26", 'torch==2.13.0; extra == "train"', 'avatarify_plus[train]; extra == "dev"']


@pytest.fixture
def installed_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package be installed, with optional dependencies, and not run from a checkout."""
    for module in (installation, finding_module, model, gpu, checkout_module):
        monkeypatch.setattr(module, "checkout", lambda: None)
    monkeypatch.setattr(installation.metadata, "requires", lambda name: INSTALLED)


@pytest.mark.usefixtures("installed_copy")
def test_an_installed_copy_asks_for_what_its_metadata_requires_and_for_no_extra() -> None:
    assert installation.required() == INSTALLED
    assert state(installation.judge_packages(INSTALLED, {"numpy": "2.4.6"})) == OK
    assert installation.judge_packages(INSTALLED, {}).message == "numpy is missing"
    found = {"numpy": "2.4.6", "torch": "1.0"}
    finding = installation.judge_dependencies(INSTALLED, found, lambda name: ["odd>=1"] if name == "torch" else [])
    assert (finding.state, finding.message) == (OK, "1 packages fit together")


@pytest.mark.usefixtures("installed_copy")
def test_an_installed_copy_is_mended_without_files_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_fix() == "python -m pip install --upgrade avatarify_plus"
    assert "this program's folder" not in installation.judge_python((3, 13, 0), "x86_64", True).fix
    assert "requirements" not in gpu.judge_gpu_engine(CARD, (13, 0), REFUSALS).fix
    monkeypatch.setattr(model, "open_wanted", lambda wanted: open_bundle("no such model"))
    assert model.model(Wanted()).fix == "python -m pip install --force-reinstall --no-deps avatarify_plus"
    assert doctor.summary([]).endswith("ready for avatarify --avatar face.jpg")


@pytest.mark.parametrize("stand_in", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"])
def test_a_stand_in_meets_the_requirement(stand_in: str) -> None:
    found = {name: version for name, version in FOUND.items() if name != "onnxruntime"} | {stand_in: "1.24.0"}
    assert state(installation.judge_packages(REQUIRED, found)) == OK


def test_what_packages_need_themselves_is_followed_to_the_end() -> None:
    needs = {"mediapipe": ["protobuf <5,>=4.25.3", 'jax; extra == "more"'], "protobuf": ["upb>=2"], "numpy": []}
    found = {**FOUND, "protobuf": "5.29.0", "upb": "1.0"}
    finding = installation.judge_dependencies(REQUIRED, found, lambda name: needs.get(name, []))
    assert state(finding) == WARNING
    assert re.search('install "protobuf<5,>=4.25.3" "upb>=2"$', finding.fix)
    assert "jax" not in finding.message
    found |= {"protobuf": "4.25.9", "upb": "2.1"}
    assert state(installation.judge_dependencies(REQUIRED, found, lambda name: needs.get(name, []))) == OK


@pytest.mark.parametrize(
    ("names", "expected", "kept"),
    [
        (["opencv-python"], OK, ""),
        (["opencv-python", "opencv-contrib-python"], FAILED, "opencv-python"),
        (["opencv-python", "opencv-python-headless"], FAILED, "opencv-python"),
        (["opencv-contrib-python"], FAILED, "opencv-python"),
    ],
)
def test_there_is_one_opencv_and_the_right_one(names: list[str], expected: str, kept: str) -> None:
    finding = installation.judge_opencv(["numpy>=1.26", "opencv-python>=4.13"], dict.fromkeys(names, "5.0"))
    assert state(finding) == expected
    assert finding is not None
    assert not kept or f'uninstall -y {" ".join(names)}, then python -m pip install "{kept}"' in finding.fix
    assert installation.judge_opencv(["opencv-python>=4.13"], {}) is None


def test_there_is_one_onnx_runtime() -> None:
    assert state(installation.judge_onnx_runtime({"onnxruntime-gpu": "1.24"})) == OK
    finding = installation.judge_onnx_runtime({"onnxruntime": "1.31", "onnxruntime-gpu": "1.24"})
    assert state(finding) == FAILED
    assert finding is not None
    assert finding.fix.endswith('install "onnxruntime-gpu[cuda,cudnn]"')


def test_what_is_installed_is_read_from_the_packages_own_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("opencv_python_headless", "4.11.0"), ("flatbuffers", "24.3.25")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    assert state(installation.dependencies(Wanted())) == OK
    assert state(installation.opencv(Wanted())) == OK
    monkeypatch.syspath_prepend(tmp_path)
    finding = installation.opencv(Wanted())
    assert state(finding) == FAILED
    assert finding is not None
    assert "opencv-python-headless 4.11.0 overwrite" in finding.message
    finding = installation.dependencies(Wanted())
    assert state(finding) == WARNING
    assert finding is not None
    assert "mediapipe 0.10.31: flatbuffers is 24.3.25, needed is ~=25.9" in finding.message


# --- where the app writes ---


def test_a_disk_without_room_for_a_meeting_is_a_warning(tmp_path: Path) -> None:
    assert state(storage.judge_recordings(tmp_path, 1e5)) == OK
    assert state(storage.judge_recordings(tmp_path, 100)) == WARNING


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for finding in (storage.judge_settings_folder(file / "avatarify"), storage.judge_recordings(file, 1e5)):
        assert state(finding) == WARNING
        assert str(file) in finding.message
    assert state(storage.judge_settings_folder(tmp_path / "new" / "avatarify")) == OK
    assert list(tmp_path.iterdir()) == [file], "looking leaves no trace"


# --- model and face mesh ---


def test_a_corrupted_model_is_named_with_its_fix(tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED / "live-256", tmp_path / "mine")
    assert state(model.model(Wanted(str(copy)))) == OK
    graph = copy / "animate.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    finding = model.model(Wanted(str(copy)))
    assert state(finding) == FAILED
    assert f"{graph} is damaged" in finding.message
    assert "export it again" in finding.fix
    graph.unlink()
    assert f"lacks {graph}" in model.model(Wanted(str(copy))).message


def test_the_shipped_model_comes_back_by_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = shutil.copytree(SHIPPED / "live-512", tmp_path / "live-512")
    (copy / "animate.onnx").unlink()
    monkeypatch.setattr("avatarify_plus.bundle.SHIPPED", tmp_path)
    finding = model.model(Wanted())
    assert state(finding) == FAILED
    assert finding.fix.startswith(f"git checkout -- {SHIPPED / 'live-512'}")


def test_the_face_mesh_finds_faces_alone(tmp_path: Path) -> None:
    import cv2

    assert state(model.judge_face_mesh(EXAMPLES / "avatar_2.jpg")) == OK
    cv2.imwrite(str(tmp_path / "grey.png"), plain_picture(128, 200, 200))
    assert state(model.judge_face_mesh(tmp_path / "grey.png")) == FAILED


# --- engines ---


def test_engines_are_listed_with_their_reasons() -> None:
    finding = engines.judge_engines({"openvino": "", "onnxruntime": "", "torch-cuda": "no GPU", "tensorrt": "no GPU"})
    assert state(finding) == OK
    assert finding.message == "openvino, onnxruntime work here; torch-cuda, tensorrt: no GPU"


@pytest.mark.parametrize(
    ("refusals", "expected"), [({"openvino": "broken", "torch": ""}, WARNING), ({"openvino": "broken"}, FAILED)]
)
def test_a_broken_runtime_is_installed_again(refusals: dict[str, str], expected: str) -> None:
    finding = engines.judge_engines(refusals)
    assert state(finding) == expected
    assert finding.fix.endswith("--force-reinstall --no-deps openvino")
    assert "openvino: broken" in finding.message


def test_a_refusal_is_the_engines_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise EngineError("not today")

    monkeypatch.setattr(engines, "require_parts", refuse)
    assert engines.refusal(SimpleNamespace(), "openvino") == "not today"  # type: ignore[arg-type]


def test_the_automatic_choice_says_why_or_that_there_is_none() -> None:
    def fail() -> str:
        raise EngineError("no engine works here: a (b)")

    assert engines.judge_choice(lambda: "openvino on CPU").message == "openvino on CPU"
    assert state(engines.judge_choice(fail)) == FAILED


def test_openvino_must_see_the_processor() -> None:
    assert state(engines.judge_openvino("2026.4-1", {"CPU": "An EPYC ", "GPU": "An Arc"})) == OK
    assert state(engines.judge_openvino("2026.4-1", {})) == WARNING


# --- the GPU ---

CARD = Gpu("NVIDIA Test", 8)
REFUSALS = {"tensorrt": "not installed", "onnxruntime-cuda": "needs CUDAExecutionProvider"}


def test_no_gpu_is_no_trouble_and_a_card_without_driver_is(tmp_path: Path) -> None:
    assert state(gpu.judge_gpu(CARD, "", True)) == OK
    assert state(gpu.judge_gpu(None, "no NVIDIA driver", False)) == OK
    assert state(gpu.judge_gpu(None, "no NVIDIA driver", True)) == WARNING
    for name, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x040300")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "c").mkdir()
    assert not gpu.has_card(tmp_path), "NVIDIA's sound is no display"
    (tmp_path / "b" / "class").write_text("0x030200\n")
    assert gpu.has_card(tmp_path)


def test_a_driver_older_than_a_packages_cuda_is_named() -> None:
    assert state(gpu.judge_fit((13, 0), {"onnxruntime-gpu 1.31": 13, "torch 2.8": 12})) == OK
    assert state(gpu.judge_fit((12, 4), {})) == OK
    finding = gpu.judge_fit((12, 4), {"onnxruntime-gpu 1.31": 13, "torch 2.8": 12})
    assert state(finding) == WARNING
    assert "CUDA 12.4; onnxruntime-gpu 1.31 needs CUDA 13" in finding.message
    assert "version 580 or later" in finding.fix
    assert "the newest, for CUDA 15" in gpu.judge_fit((13, 0), {"torch 4": 15}).fix


def test_packages_name_the_cuda_they_are_made_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text("__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n")
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "build_and_package_info.py").write_text("package_name = 'x'\ncuda_version = '12.8'\n")
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: spec)
    found = {"torch": "2.13.0", "onnxruntime-gpu": "1.22", "tensorrt-rtx-cu13": "1.7", "cuda-bindings": "12.9.1"}
    monkeypatch.setattr(gpu, "installed", lambda: found | {"numpy": "2.0"})
    assert dict(gpu.cuda_builds()) == {
        "torch 2.13.0": 13, "onnxruntime-gpu 1.22": 12, "tensorrt-rtx-cu13 1.7": 13, "cuda-bindings 12.9.1": 12,
    }  # fmt: skip
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    assert "torch 2.13.0" not in dict(gpu.cuda_builds()), "a CPU build needs no CUDA"


def test_a_gpu_that_no_engine_uses_is_a_pity() -> None:
    assert state(gpu.judge_gpu_engine(CARD, (13, 0), {**REFUSALS, "torch-cuda": ""})) == OK
    finding = gpu.judge_gpu_engine(CARD, (13, 0), REFUSALS)
    assert state(finding) == WARNING
    assert "tensorrt: not installed" in finding.message
    assert "requirements-gpu.txt" in finding.fix
    assert "update" not in finding.fix
    assert gpu.judge_gpu_engine(CARD, (12, 4), REFUSALS).fix.startswith("update the NVIDIA driver to version 580")
    assert state(gpu.judge_gpu_engine(Gpu("NVIDIA Old", 6), (12, 4), REFUSALS)) == OK


def test_the_driver_reports_its_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(target: Any) -> int:
        target._obj.value = 12040
        return 0

    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: SimpleNamespace(cuDriverGetVersion=version))
    assert gpu.driver_cuda() == (12, 4)


def test_without_a_gpu_nothing_is_said_of_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Gpu:
        raise EngineError("no NVIDIA driver")

    monkeypatch.setattr(gpu, "find_gpu", fail)
    assert gpu.cuda_fit(Wanted()) is None
    assert gpu.gpu_engine(Wanted()) is None


# --- webcams ---


def device(index: int, name: str, is_virtual: bool = False) -> CameraDevice:
    return CameraDevice(index, name, f"/dev/video{index}", f"usb-{index}", is_virtual)


class FakeFrameSource:
    """Gives frames 1 / rate apart, or nothing; every tenth of a second it says so."""

    def __init__(self, pictures: list[Image | None], rate_hz: float = 30.0) -> None:
        self.pictures = pictures
        self.rate_hz = rate_hz

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        for index, picture in enumerate(self.pictures):
            yield None if picture is None else Frame(picture, index, index / self.rate_hz)


def bright_picture() -> Image:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_device_nodes_that_are_closed_are_named() -> None:
    assert cameras.judge_access([], bool) is None
    assert state(cameras.judge_access(["/dev/video0"], bool)) == OK
    finding = cameras.judge_access(["/dev/video0"], lambda node: False)
    assert state(finding) == FAILED
    assert finding is not None
    assert "sudo usermod -aG video " in finding.fix
    assert state(cameras.judge_access(["/dev/video0", "/dev/video1"], lambda node: node.endswith("0"))) == WARNING


def test_webcams_are_listed() -> None:
    found = [device(0, "Integrated"), device(2, "Logi"), device(4, "OBS", is_virtual=True)]
    finding = cameras.judge_cameras(found, "linux", "0")
    assert finding == Finding("cameras", OK, "0 Integrated, 2 Logi, 4 OBS (virtual camera)")


def test_no_webcam_has_failed_and_may_be_the_systems_privacy() -> None:
    finding = cameras.judge_cameras([], "linux", "0")
    assert state(finding) == FAILED
    assert "Privacy" not in finding.fix
    assert "System Settings > Privacy" in cameras.judge_cameras([], "darwin", "0").fix
    assert "desktop apps" in cameras.judge_cameras([], "win32", "0").fix


def test_a_camera_that_a_program_draws_is_no_webcam() -> None:
    drawn = device(0, "OBS", is_virtual=True)
    finding = cameras.judge_cameras([drawn], "linux", "0")
    assert state(finding) == WARNING
    assert "only 0 OBS" in finding.message
    finding = cameras.judge_cameras([drawn, device(2, "Logi")], "linux", "0")
    assert state(finding) == WARNING
    assert finding.fix == "start with --camera 2"


@pytest.mark.parametrize(
    ("picture", "rate_hz", "expected", "wanted"),
    [
        (bright_picture(), 30.0, OK, "64x48, 30 frames a second"),
        (bright_picture(), 10.0, WARNING, "slow"),
        (plain_picture(30), 30.0, WARNING, "dark"),
        (plain_picture(5), 30.0, FAILED, "black"),
    ],
)
def test_a_webcams_picture_is_looked_at(picture: Image, rate_hz: float, expected: str, wanted: str) -> None:
    seen = cameras.sample_pictures(FakeFrameSource([None, picture] + [picture] * 400, rate_hz))  # type: ignore[arg-type]
    finding = cameras.judge_pictures("webcam 0", seen, "linux")
    assert state(finding) == expected
    assert wanted in finding.message


def test_a_black_picture_may_be_the_systems_privacy() -> None:
    seen = cameras.CameraSample(plain_picture(0), 30.0)
    assert "lens cover" in cameras.judge_pictures("webcam 0", seen, "linux").fix
    assert "Privacy" in cameras.judge_pictures("webcam 0", seen, "darwin").fix


def test_a_webcam_without_pictures_has_failed() -> None:
    assert cameras.sample_pictures(FakeFrameSource([None] * 3)) is None  # type: ignore[arg-type]
    assert cameras.sample_pictures(FakeFrameSource([None] * 3), patience_s=0) is None  # type: ignore[arg-type]
    assert state(cameras.judge_pictures("webcam 0", None, "linux")) == FAILED


def test_without_a_webcam_no_picture_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "known_cameras", list)
    assert cameras.camera_picture(Wanted()) is None


def test_the_first_webcam_is_opened_unless_another_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def fail(camera: str, *rest: object) -> None:
        opened.append(camera)
        raise CameraError(f"cannot open {camera}")

    monkeypatch.setattr(cameras, "known_cameras", lambda: [device(0, "OBS", is_virtual=True), device(2, "Logi")])
    monkeypatch.setattr(cameras, "open_frame_source", fail)
    assert state(cameras.camera_picture(Wanted())) == FAILED
    assert state(cameras.camera_picture(Wanted(camera="Logi"))) == FAILED
    assert opened == ["2", "Logi"]
    assert cameras.cameras(Wanted(camera="Logi")) is None


def test_a_video_file_can_stand_in_for_the_webcam() -> None:
    finding = cameras.camera_picture(Wanted(camera=str(EXAMPLES / "driver.mp4")))
    assert finding is not None
    assert "mean brightness" in finding.message


# --- virtual camera and screen ---


def backend(name: str, is_available: bool, reason: str = "") -> Backend:
    devices = ("/dev/video9",) if is_available else ()
    return Backend(name, devices, is_available, reason, f"mend {name}" if reason else "")


NO_OBS, NO_UNITY = backend("obs", False, "no OBS"), backend("unitycapture", False, "no Unity")


def test_one_virtual_camera_that_opens_is_enough() -> None:
    finding = outputs.judge_virtual_camera([NO_OBS, backend("unitycapture", True)], lambda: "/dev/video9")
    assert finding == Finding("virtual camera", OK, "unitycapture: /dev/video9; /dev/video9 opens")


def test_why_there_is_no_virtual_camera_is_reported_with_each_fix() -> None:
    finding = outputs.judge_virtual_camera([NO_OBS, NO_UNITY], lambda: pytest.fail("there is none to open"))
    assert finding.message == "obs: no OBS; unitycapture: no Unity"
    assert finding.fix == "mend obs; or: mend unitycapture"
    assert state(finding) == FAILED
    assert state(outputs.judge_virtual_camera([], str)) == FAILED


def test_a_virtual_camera_that_does_not_open_has_failed() -> None:
    def fail() -> str:
        raise VirtualCameraError("cannot open it")

    finding = outputs.judge_virtual_camera([backend("obs", True)], fail)
    assert state(finding) == FAILED
    assert finding.message == "cannot open it"


def test_a_virtual_camera_that_browsers_hide_is_a_warning() -> None:
    finding = outputs.judge_virtual_camera([backend("v4l2loopback", True, "browsers hide it")], str)
    assert state(finding) == WARNING
    assert (finding.message, finding.fix) == ("v4l2loopback: /dev/video9; browsers hide it", "mend v4l2loopback")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_no_screen_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", "")
    finding = outputs.screen(Wanted())
    assert state(finding) == WARNING
    assert "--no-preview" in finding.fix


# --- speed ---


def measured(rate_hz: float) -> Speed:
    return Speed(40, 10, rate_hz, rate_hz, {PICTURE: Percentiles(1000 / rate_hz, 1200 / rate_hz, 1500 / rate_hz)})


@pytest.mark.parametrize(("rate_hz", "expected"), [(37.0, OK), (24.9, WARNING), (9.0, FAILED)])
def test_speed_is_judged_by_what_people_see(rate_hz: float, expected: str) -> None:
    finding = speed.judge_speed(measured(rate_hz), "openvino int8", 0.1, 2)
    assert state(finding) == expected
    assert f"95 % within {1200 / rate_hz:.0f} ms" in finding.message
    assert ("charger" in finding.fix) == (expected != OK)
    assert "engine" not in finding.fix and "close other" not in finding.fix


def test_what_slows_the_app_down_is_named() -> None:
    finding = speed.judge_speed(measured(15), "onnxruntime fp32", 3.5, 2)
    assert "3.5 at once want the 2 cores" in finding.fix
    assert "engine" in finding.fix
    assert "--fps-limit 12" in finding.fix
    assert "at once" not in speed.judge_speed(measured(15), "openvino int8", None, 2).fix
