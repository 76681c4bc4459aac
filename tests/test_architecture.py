"""The layers of docs/architecture.md hold: imports point downwards, and third parties have one home."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"^\| (\d) \| ([^|]+) \|", re.MULTILINE)


def layers() -> dict[str, int]:
    """Return the layer of each folder and root file, by its name, as docs/architecture.md has them."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return {name: int(number) for number, cell in TABLE.findall(page) for name in re.findall(r"`(\w+)/?`", cell)}


LAYERS = layers()
OUTSIDE_WORLD = 6
OUTSIDE_MAY_USE = 1
PROGRAMS = {"training": 5, "export": 6}
CLIS = (
    "avatarify_plus/adapt/command.py",
    "avatarify_plus/app.py",
    "avatarify_plus/bench/",
    "avatarify_plus/doctor/",
    "export/",
    "training/",
)
TORCH_HOMES = ("avatarify_plus/network/", "avatarify_plus/engines/torch_", "export/", "training/")
HOMES = {
    "av": (
        "avatarify_plus/camera/film_",
        "avatarify_plus/sinks/film_",
        "avatarify_plus/sinks/sound_track.py",
        "avatarify_plus/pictures/heif.py",
        "avatarify_plus/remote/peer.py",
        "training/",
    ),
    "mediapipe": (
        "avatarify_plus/face/mesh.py",
        "training/evaluation/body_landmarks.py",
        "training/evaluation/expression_tracker.py",
    ),
    "pyvirtualcam": ("avatarify_plus/sinks/virtual_camera.py",),
    "openvino": (
        "avatarify_plus/engines/openvino_engine.py",
        "avatarify_plus/engines/openvino_graph.py",
        "avatarify_plus/doctor/engines.py",
        "export/",
    ),
    "onnxruntime": ("avatarify_plus/engines/onnxruntime_", "avatarify_plus/doctor/engines.py", "export/"),
    "tensorrt": ("avatarify_plus/engines/tensorrt_library.py",),
    "tensorrt_rtx": ("avatarify_plus/engines/tensorrt_library.py",),
    "torch_tensorrt": ("export/trt_torch.py",),
    "starlette": (
        "avatarify_plus/studio/server.py",
        "avatarify_plus/service/application.py",
        "avatarify_plus/service/cluster.py",
        "avatarify_plus/web/",
    ),
    "uvicorn": ("avatarify_plus/web/http_server.py",),
    "websockets": ("avatarify_plus/remote/link.py", "avatarify_plus/bench/callers.py"),
    "aiortc": ("avatarify_plus/remote/peer.py",),
    "aioice": ("avatarify_plus/remote/peer.py",),
    "prometheus_client": ("avatarify_plus/service/figures.py",),
    "ray": ("avatarify_plus/service/cluster.py",),
    "cv2_enumerate_cameras": ("avatarify_plus/camera/device_list.py",),
    "PIL": (
        "avatarify_plus/pictures/text.py",
        "avatarify_plus/pictures/jpeg.py",
        "avatarify_plus/pictures/decoding.py",
        "avatarify_plus/pictures/moving_picture.py",
    ),
    "cuda": ("avatarify_plus/engines/cuda.py",),
    "cv2": (
        "avatarify_plus/camera/",
        "avatarify_plus/preview/",
        "avatarify_plus/pictures/images.py",
        "avatarify_plus/pictures/decoding.py",
        "avatarify_plus/pictures/composition.py",
        "avatarify_plus/pictures/photo_layers.py",
        "avatarify_plus/pictures/photo_region.py",
        "avatarify_plus/face/contours.py",
        "avatarify_plus/motion/face_pose.py",
        "avatarify_plus/sinks/recorder.py",
        "avatarify_plus/sinks/picture_folder.py",
        "training/",
    ),
}


def sources() -> list[Path]:
    folders = ("avatarify_plus", "export", "training")
    return [ROOT / "run.py", *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of all that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "avatarify_plus" or len(parts) < 2:
        return None
    return LAYERS.get(parts[1])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    own = layer(module_of(path))
    program = path.relative_to(ROOT).parts[0]
    if own is None and program not in PROGRAMS:
        return
    own_package = module_of(path).split(".")[1] if own is not None else ""
    for module in imports(path):
        theirs = layer(module)
        if own is None:
            assert theirs is None or theirs <= PROGRAMS[program], f"{program} may not import {module}"
            assert not module.startswith(tuple(set(PROGRAMS) - {program})), f"{program} imports {module}"
            continue
        assert not module.startswith(tuple(PROGRAMS)), f"{name_of(path)} imports {module}"
        if theirs is None or module.split(".")[1] == own_package:
            continue
        assert theirs <= own, f"{name_of(path)} (layer {own}) imports {module} (layer {theirs})"
        if own == OUTSIDE_WORLD:
            assert theirs == own or theirs <= OUTSIDE_MAY_USE, f"{name_of(path)} imports {module}"


def test_every_module_has_a_layer() -> None:
    package = ROOT / "avatarify_plus"
    modules = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/__init__.py")}
    assert modules - {"__init__"} == set(LAYERS)


@pytest.mark.parametrize("package", ["avatarify_plus", "training"])
def test_folders_make_no_circle(package: str) -> None:
    edges: dict[str, set[str]] = {}
    for path in sources():
        folder = path.relative_to(ROOT).parts
        if folder[0] != package or len(folder) < 3:
            continue
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == package and (ROOT / package / parts[1]).is_dir() and parts[1] != folder[1]:
                edges.setdefault(folder[1], set()).add(parts[1])
    left = set(edges)
    while ends := {name for name in left if not edges[name] & left}:
        left -= ends
    assert not left, f"these folders import each other: {sorted(left)}"


@pytest.mark.parametrize(("package", "most"), [("avatarify_plus", 12), ("training", 15)])
def test_the_root_of_a_package_stays_small(package: str, most: int) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= most


def test_there_are_no_cycles() -> None:
    paths = {module_of(path).removesuffix(".__init__"): path for path in sources()}
    edges = {
        module: {
            target
            for imported in imports(path)
            for target in (imported, imported.rpartition(".")[0])
            if target in paths and target != module
        }
        for module, path in paths.items()
    }
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module not in finished:
            for target in edges[module]:
                visit(target, (*trail, module))
            finished.add(module)

    for module in edges:
        visit(module, ())


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_third_parties_stay_at_home(path: Path) -> None:
    for module in imports(path):
        package = module.split(".")[0]
        if package in ("torch", "torchvision"):
            assert name_of(path).startswith(TORCH_HOMES), f"{name_of(path)} imports {package}"
            assert package != "torchvision"
        if package in HOMES:
            assert name_of(path).startswith(HOMES[package]), f"{name_of(path)} imports {package}"


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_no_print_global_or_bare_except(path: Path) -> None:
    is_program = name_of(path).startswith(CLIS)
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Global), f"{name_of(path)}:{node.lineno}: global"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{name_of(path)}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert is_program, f"{name_of(path)}:{node.lineno}: print outside a command line"


def test_the_checks_would_notice(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("from avatarify_plus.live import run\nimport torch\n")
    assert list(imports(file)) == ["avatarify_plus.live.run", "torch"]
    assert layer("avatarify_plus.live.run") == 7
