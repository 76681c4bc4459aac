"""The model that the studio uses: its engine, which another model's can replace between two runs, and its name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.errors import AvatarifyError
from avatarify_plus.live import open_wanted_engine
from avatarify_plus.program.user_folders import config_folder
from avatarify_plus.program.whole_file import write_whole

logger = logging.getLogger(__name__)

FILE = "studio-model.txt"
"""The name of the file with the model's name in the folder of settings."""


class ModelInUse:
    """An open engine and the name of its model. A context manager, which closes the engine."""

    def __init__(self, config: AppConfig, open_engine: Callable[[AppConfig], Engine] = open_wanted_engine) -> None:
        """Open the model that the config names. Raises AvatarifyError."""
        self._open_engine = open_engine
        self.name = config.model
        self.engine = open_engine(config)

    def __enter__(self) -> ModelInUse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()

    def change(self, config: AppConfig) -> None:
        """Use the model that the config names. Raises AvatarifyError, and then the one before is still used."""
        engine = self._open_engine(config)
        self.engine.close()
        self.engine, self.name = engine, config.model


def open_kept(config: AppConfig, open_engine: Callable[[AppConfig], Engine] = open_wanted_engine) -> ModelInUse:
    """Open the model that was kept, see `keep`; if it cannot be used any more, the one that the config names.

    Raises AvatarifyError if that cannot be used either.
    """
    name = kept()
    if name is not None and name != config.model:
        try:
            return ModelInUse(replace(config, model=name), open_engine)
        except AvatarifyError as error:
            logger.warning("%s; going on with %s", error, config.model)
    return ModelInUse(config, open_engine)


def kept() -> str | None:
    """Return the name of the model that was kept; None if there is none."""
    try:
        return (config_folder() / FILE).read_text("utf-8").strip() or None
    except (OSError, ValueError):
        return None


def keep(name: str) -> None:
    """Remember a model's name for the next time. A failure is logged as a warning."""
    try:
        config_folder().mkdir(parents=True, exist_ok=True)
        write_whole(config_folder() / FILE, f"{name}\n")
    except OSError as error:
        logger.warning("cannot keep which model is used: %s", error.strerror or error)
