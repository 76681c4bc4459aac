"""What takes part in a measurement: an engine, a precision and a model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from avatarify_plus.bundle import WEIGHTS, Bundle, Manifest, open_bundle
from avatarify_plus.config import EngineName, Precision
from avatarify_plus.engines import Engine, open_engine
from avatarify_plus.errors import ConfigError, EngineError
from avatarify_plus.network.config import network_config

FORM = "NAME[:PRECISION][@BUNDLE]"
UNTRAINED_SIZES = ("paper", "live")
"""Words that, as BUNDLE, mean preset `ours` in this size with untrained weights, made when it is opened."""


@dataclass(frozen=True, slots=True)
class Contender:
    """An engine, a precision and a model.

    text: as the user wrote it. model: a bundle's folder or shipped name, or one of UNTRAINED_SIZES.
    """

    text: str
    engine: EngineName
    precision: Precision
    model: str

    @property
    def is_untrained(self) -> bool:
        """Whether its weights are made when it is opened: there is no bundle that the app could open."""
        return self.model in UNTRAINED_SIZES

    def open(self, threads: int | None) -> Engine:
        """Open the engine with its model; see `open_engine`. Raises EngineError or ModelError."""
        if not self.is_untrained:
            return open_engine(open_bundle(self.model), self.engine, threads, self.precision)
        with tempfile.TemporaryDirectory() as folder:
            return open_engine(_untrained(Path(folder), self.model), self.engine, threads, self.precision)


def parse_contender(text: str, model: str) -> Contender:
    """Read `NAME[:PRECISION][@BUNDLE]`; without a bundle it is `model`. Raises ConfigError."""
    head, at, bundle = text.partition("@")
    name, colon, precision = head.partition(":")
    for what, value, known in (
        ("engine", name, get_args(EngineName)),
        ("precision", precision if colon else "auto", get_args(Precision)),
    ):
        if value not in known:
            raise ConfigError(
                f"{text!r} is not of the form {FORM}: {what} must be one of {', '.join(known)}, found {value!r}"
            )
    if at and not bundle:
        raise ConfigError(f"{text!r} is not of the form {FORM}: nothing follows the @")
    contender = Contender(text, name, precision or "auto", bundle or model)  # type: ignore[arg-type]  # checked above
    if contender.is_untrained and not name.startswith("torch"):
        raise ConfigError(f"{text!r}: untrained weights ({bundle}) have no graphs, only the torch engines compute them")
    return contender


def _untrained(folder: Path, size: str) -> Bundle:
    """Write the weights of a network of this size into a folder. Raises EngineError without torch."""
    try:
        from avatarify_plus.network.model import AnimationModel
        from avatarify_plus.network.weights import write_weights
    except ImportError as error:
        raise EngineError(
            f"untrained weights need torch, which cannot be loaded ({error}): pip install torch"
        ) from error
    config = network_config("ours", size)
    write_weights(AnimationModel(config), folder / WEIGHTS)
    return Bundle(folder, Manifest(f"ours-{size}-untrained", config))
