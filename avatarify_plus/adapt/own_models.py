"""The user's own models: where they lie, which there are, and deleting one with all that is left of it."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarify_plus.bundle import ADAPTED, MANIFEST, SHIPPED, open_bundle, own_models_folder
from avatarify_plus.engines.tensorrt_plans import PlanCache
from avatarify_plus.errors import AvatarifyError, ConfigError, EngineError, ModelError, SinkError
from avatarify_plus.program.user_folders import cache_folder

NAME = re.compile(r"[\w][\w .-]{0,63}")
"""What a model may be called: letters, digits, and in between spaces, dots and hyphens."""

GUIDED_FILM = "webcam.mkv"
"""The name of the guided minute's film in its folder, see `film_folder`."""

FILM_SUFFIX = ".film"

RESERVED = {"con", "prn", "aux", "nul"}
"""Names that Windows gives to devices."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """One of the user's own models. about: its manifest's entry ADAPTED. problem: why it cannot be used, or None."""

    name: str
    folder: Path
    about: dict[str, Any]
    problem: str | None = None


def check_name(name: str) -> None:
    """Raise ConfigError unless a model can be called that."""
    if not NAME.fullmatch(name) or name.rstrip(" .") != name or name.lower() in RESERVED:
        raise ConfigError(f"{name!r} cannot be a model's name: give letters, digits, dots and hyphens")
    if (SHIPPED / name / MANIFEST).is_file():
        raise ConfigError(f"{name!r} is a shipped model's name: choose another")


def model_folder(name: str) -> Path:
    """Return where a model of that name lies. Raises SinkError for a user without a home."""
    try:
        return own_models_folder() / name
    except FileNotFoundError as error:
        raise SinkError(f"own models cannot be kept: {error.strerror}") from error


def work_folder(name: str) -> Path:
    """Return where a model of that name is being made. Raises SinkError for a user without a home."""
    try:
        return cache_folder() / "adapt" / name
    except FileNotFoundError as error:
        raise SinkError(f"films cannot be worked on: {error.strerror}") from error


def film_folder(name: str) -> Path:
    """Return where the film of a guided minute lies until its model is made. Raises SinkError, see `work_folder`."""
    return work_folder(name).with_name(f"{name}{FILM_SUFFIX}")


def unfinished() -> list[str]:
    """Return the names of the models whose guided minute is recorded, and which are not made yet."""
    try:
        folders = sorted((cache_folder() / "adapt").glob(f"*{FILM_SUFFIX}"))
    except OSError:
        return []
    return [folder.name.removesuffix(FILM_SUFFIX) for folder in folders if (folder / GUIDED_FILM).is_file()]


def own_models() -> list[OwnModel]:
    """Return the user's own models, by name."""
    try:
        found = (path for path in own_models_folder().iterdir() if not path.name.startswith("."))
        folders = sorted(path for path in found if (path / MANIFEST).is_file())
    except OSError:
        return []
    return [_described(folder) for folder in folders]


def delete(name: str) -> list[Path]:
    """Delete a model and everything that was made for it: its films and pictures, and TensorRT's engines.

    Returns what was deleted. Raises ModelError if there is nothing of that name, SinkError if something cannot be
    deleted.
    """
    check_name(name)
    places = (model_folder(name), work_folder(name), film_folder(name))
    folders = [folder for folder in places if folder.is_dir()]
    if not folders:
        known = ", ".join(model.name for model in own_models()) or "none"
        raise ModelError(f"you have no model {name!r}: your own models are {known}")
    deleted = [*_plans_of(folders[0]), *folders]
    for path in deleted:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise SinkError(f"cannot delete {path}: {error.strerror or error}") from error
    return deleted


def _described(folder: Path) -> OwnModel:
    try:
        bundle = open_bundle(folder)
    except AvatarifyError as error:
        return OwnModel(folder.name, folder, {}, str(error))
    about = bundle.manifest.training.get(ADAPTED, {})
    return OwnModel(folder.name, folder, about if isinstance(about, dict) else {})


def _plans_of(folder: Path) -> list[Path]:
    """Return the files of TensorRT's engines that were built from a model, which name it by its folder."""
    try:
        plans = [plan.path for plan in PlanCache().entries() if plan.bundle == str(folder.resolve())]
    except EngineError:
        return []
    return [file for path in plans for file in (path, path.with_suffix(".json")) if file.exists()]
