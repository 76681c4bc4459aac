"""The model, and the face mesh that feeds it."""

from __future__ import annotations

from pathlib import Path

from avatarify_plus.bundle import SHIPPED, Bundle, open_bundle
from avatarify_plus.config import AppConfig
from avatarify_plus.doctor.finding import FAILED, OK, PIP, Finding, Wanted, reinstall_fix
from avatarify_plus.errors import ModelError
from avatarify_plus.face.mesh import FaceMesh
from avatarify_plus.pictures.images import load_photo
from avatarify_plus.program.checkout import checkout
from avatarify_plus.program.examples import example


def open_wanted(wanted: Wanted) -> Bundle:
    """Open the wanted model, or the app's default. Raises ModelError."""
    return open_bundle(wanted.model or _default_model())


def _default_model() -> str:
    return AppConfig(avatar=(Path(),)).model


def model(wanted: Wanted) -> Finding:
    """See whether the model is complete and its files match their SHA-256."""
    try:
        bundle = open_wanted(wanted)
    except ModelError as error:
        return Finding("model", FAILED, str(error), _fix(wanted.model))
    count = sum((bundle.folder / name).exists() for name in bundle.manifest.files)
    return Finding("model", OK, f"{bundle.manifest.name}, {count} files match their SHA-256, {bundle.folder}")


def _fix(name: str | None) -> str:
    """Return how to get a model back."""
    name = name or _default_model()
    if Path(name).name == name and (SHIPPED / name).is_dir():
        return reinstall_fix() if checkout() is None else f"git checkout -- {SHIPPED / name}, or {reinstall_fix()}"
    return "export it again with export/onnx_bundle.py, or leave --model out to use the shipped model"


def face_mesh(wanted: Wanted) -> Finding:
    """See whether MediaPipe finds the face in an example photo."""
    return judge_face_mesh(example("avatar_2.jpg"))


def judge_face_mesh(photo: Path) -> Finding:
    """Say whether MediaPipe finds a face in a photo."""
    with FaceMesh(tracking=False) as mesh:
        found = mesh.find(load_photo(photo))
    if found is None:
        return Finding(
            "face mesh",
            FAILED,
            f"MediaPipe finds no face in {photo}",
            f"{PIP} install --force-reinstall --no-deps mediapipe",
        )
    return Finding("face mesh", OK, f"MediaPipe finds {len(found)} points in {photo.name}")


CHECKS = (model, face_mesh)
