"""TensorRT and TensorRT for RTX: two libraries with one interface, imported only here."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from typing import Any, NamedTuple

from avatarify_plus.errors import EngineError

logger = logging.getLogger(__name__)

TENSORRT = "tensorrt"
RTX = "tensorrt_rtx"
TITLES = {TENSORRT: "TensorRT", RTX: "TensorRT for RTX"}
PACKAGES = {TENSORRT: "tensorrt", RTX: "tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs tensorrt-rtx-cu13"}
INSTALL_HINT = (
    f"pip install {PACKAGES[RTX]} (any GeForce or RTX card from Turing on), or pip install {PACKAGES[TENSORRT]}"
)


class Library(NamedTuple):
    """A loaded library. name: the module's. api: the module. log: what it writes its messages to, see `make_log`."""

    name: str
    version: str
    api: Any
    log: Any

    def __str__(self) -> str:
        return f"{TITLES[self.name]} {self.version}"

    def create(self, kind: str) -> Any:
        """Return a new "Builder" or "Runtime". Raises EngineError if it cannot start, such as without a driver."""
        try:
            return getattr(self.api, kind)(self.log)
        except TypeError as error:  # this is how its bindings report a null pointer
            raise EngineError(f"{self} cannot start: {self.log.take_error()}") from error


def installed_libraries() -> list[str]:
    """Return the names of the installed libraries, without loading them."""
    return [name for name in TITLES if importlib.util.find_spec(name) is not None]


@functools.cache  # each keeps the first log that it gets until the process ends
def load_library(name: str) -> Library:
    """Import a library. Raises EngineError if it is not there, or only in part."""
    try:
        api = importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(f"{TITLES[name]} cannot be loaded ({reason}): pip install {PACKAGES[name]}") from error
    return Library(name, api.__version__, api, make_log(api))


def make_log(api: Any) -> Any:
    """Return a log for a library's objects, which passes messages on to Python's logging and keeps the errors."""

    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(api.ILogger.Severity.ERROR):
                self.errors.append(message)
            if int(severity) <= int(api.ILogger.Severity.WARNING):
                logger.debug("%s", message)

        def take_error(self) -> str:
            """Return the first error, which causes the others, in one line, and forget them all."""
            error = " ".join(self.errors[0].split()) if self.errors else "it does not say why"
            self.errors.clear()
            return error

    return Log()
