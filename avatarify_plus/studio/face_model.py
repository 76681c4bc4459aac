"""A model that knows the user's face, made from the page: the guided minute, the adaptation, and what came of it."""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from avatarify_plus.adapt.adaptation import SHARES, STEPS, Adaptation, Outcome, Progress, StoppedError, Wish
from avatarify_plus.adapt.command import MINUTES
from avatarify_plus.adapt.guided_minute import Moment
from avatarify_plus.adapt.material import Material
from avatarify_plus.adapt.own_models import (
    GUIDED_FILM,
    check_name,
    delete,
    film_folder,
    model_folder,
    own_models,
    unfinished,
    work_folder,
)
from avatarify_plus.adapt.verdict import OTHERS_SLACK, describe
from avatarify_plus.adapt.webcam_film import record_guided_minute
from avatarify_plus.errors import AvatarifyError, ConfigError, SinkError
from avatarify_plus.pictures.decoding import decode_file
from avatarify_plus.pictures.images import at_most, mirror
from avatarify_plus.pictures.jpeg import jpeg_url
from avatarify_plus.program.model_option import SHIPPED_MODEL
from avatarify_plus.types import Image
from avatarify_plus.web.page_control import PageControl

logger = logging.getLogger(__name__)

SHOWN_PX = 720
"""The longer side of the webcam's picture as it is shown during the guided minute."""

SHEET_PX = 1200
"""The width of the pictures of both models at most."""

CLOSE_S = 90.0
"""So long it is waited at the end for what is being learned to be saved."""

IDLE, RECORDING, WORKING, STOPPED, FAILED, DONE = "idle", "recording", "working", "stopped", "failed", "done"
"""Where it stands, as the page knows it."""


class Ending(NamedTuple):
    """How the work on a model ended.

    stage: STOPPED, FAILED, or DONE. error: of what failed. sheet: the pictures of both models as a data URL.
    """

    stage: str
    error: str | None = None
    outcome: Outcome | None = None
    sheet: str | None = None


class FaceModel:
    """Make a model that knows the user's face, and list the user's own models.

    All of it happens in the thread that calls its methods, the studio's, but for the work itself, see `_Work`. What
    pages show is in the state: `adapt` (where it stands), `minute` and `adapting` (how far), `adapt_sheet`, `models`.
    """

    def __init__(self, control: PageControl) -> None:
        self._control = control
        self._problem = _problem()
        self._work: _Work | None = None
        self._name = ""
        self._missing: list[str] = []
        self._ending = Ending(IDLE)
        self._published: dict[str, Any] = {}
        self._used = SHIPPED_MODEL

    @property
    def has_webcam(self) -> bool:
        """Whether the webcam is needed for the guided minute."""
        return self._work is not None and self._work.needs_webcam

    def publish_models(self, used: str, error: str | None = None) -> None:
        """Publish which models there are. used: the name of the one in use. error: of choosing or deleting one."""
        self._used = used
        own = [
            {
                "name": model.name,
                "problem": model.problem,
                "on": model.about.get("on"),
                "is_for_one_face": _number(model.about.get("others")) > OTHERS_SLACK,
            }
            for model in own_models()
        ]
        busy = None if self._work is None else self._name
        left = [name for name in unfinished() if name != busy]
        models = {"used": used, "shipped": SHIPPED_MODEL, "own": own, "unfinished": left, "error": error}
        self._publish(models=models)

    def refresh(self, webcam_is_free: bool) -> None:
        """Begin what waits for the webcam, and publish how far the work is; to be called again and again."""
        work = self._work
        if work is not None:
            self._missing = work.missing
            if not work.has_begun and (webcam_is_free or not work.needs_webcam):
                work.begin()
            elif work.ending is not None:
                self._work, self._ending = None, work.ending
                self.publish_models(self._used)
        self._publish_stage()

    def close(self) -> None:
        """End the work, and wait until what was done so far is saved: `go_on` takes it up again."""
        work = self._work
        if work is None or not work.has_begun:
            return
        if work.ending is None:
            logger.info("ending the work on the model %s: what was done is kept", self._name)
        end_s = time.monotonic() + CLOSE_S
        while work.ending is None and time.monotonic() < end_s:
            work.stop.set()  # while it learns, it takes one stop for going on and the next for ending
            work.join(0.2)

    # --- what the page asks for ---

    def begin(self, name: str, has_agreed: bool, camera: str | None) -> bool:
        """Make a model from a guided minute, as soon as the webcam is free; return whether that can be.

        has_agreed: whether whose face it is agreed to it. camera: as of `record_guided_minute`.
        """
        if self._work is not None:
            return False
        try:
            if self._problem is not None:
                raise ConfigError(self._problem)
            if not has_agreed:
                raise ConfigError("only your own face, or that of somebody who agreed to it, may be used")
            check_name(name)
            if model_folder(name).exists():
                raise ConfigError(f"you have a model {name!r} already: choose another name, or delete that one first")
            if camera is None:
                raise ConfigError("no webcam is chosen: connect one, or close what uses it")
        except AvatarifyError as error:
            self._ending = Ending(FAILED, str(error))
            self._publish_stage()
            return False
        self._take_up(name, camera)
        return True

    def go_on(self, name: str) -> None:
        """Go on with a model whose guided minute is recorded."""
        if self._work is None and self._problem is None and name in unfinished():
            self._take_up(name, None)

    def end(self) -> None:
        """Stop: the guided minute without keeping anything; learning with what was learned; all else for `go_on`."""
        work = self._work
        if work is not None and not work.has_begun:
            self._work, self._ending = None, Ending(IDLE)
        elif work is not None:
            work.stop.set()
        self._publish_stage()

    def forget(self, name: str) -> None:
        """Delete the film of a guided minute and what was made of it."""
        if name in unfinished() and not (self._work is not None and name == self._name):
            _delete_work(name)
            self.clear()
            self.publish_models(self._used)

    def clear(self) -> None:
        """Take away what is shown of how the last one ended."""
        self._ending = Ending(IDLE)
        self._publish_stage()

    def delete(self, name: str) -> None:
        """Delete one of the user's own models, unless it is in use."""
        if name not in [model.name for model in own_models()]:
            return
        error = None
        try:
            if name == self._used:
                raise ConfigError(f"{name!r} is in use: use another model first")
            if self._work is not None and name == self._name:
                raise ConfigError(f"{name!r} is being made: stop that first")
            delete(name)
        except AvatarifyError as failure:
            error = str(failure)
        self.publish_models(self._used, error)

    # --- the work ---

    def _take_up(self, name: str, camera: str | None) -> None:
        self._name, self._ending, self._missing = name, Ending(IDLE), []
        self._work = _Work(name, camera, self._control)
        self.publish_models(self._used)
        self._publish_stage()

    def _publish_stage(self) -> None:
        work, ending = self._work, self._ending
        stage = ending.stage if work is None else RECORDING if work.needs_webcam else WORKING
        adapt = {
            "stage": stage,
            "name": self._name,
            "problem": self._problem,
            "error": ending.error,
            "missing": self._missing,
            "is_stopping": work is not None and work.stop.is_set(),
            "result": None if ending.outcome is None else _described(ending.outcome),
        }
        self._publish(
            adapt=adapt,
            adapt_sheet=ending.sheet,
            minute=None if work is None or work.moment is None else _minute(work.moment),
            adapting=None if work is None or work.progress is None else _progress(work.progress),
        )

    def _publish(self, **state: Any) -> None:
        """Publish what has changed."""
        changes = {name: value for name, value in state.items() if self._published.get(name, ...) != value}
        if changes:
            self._published |= changes
            self._control.publish(**changes)


class _Work:
    """From the guided minute to the model, in a thread of its own. Others read its attributes and set `stop`.

    moment: of the guided minute. missing: the names of what that did not show. progress: of the adaptation. ending: how
    it ended, set last.
    """

    def __init__(self, name: str, camera: str | None, control: PageControl) -> None:
        """camera: None goes on with the film that is there."""
        self._name, self._camera, self._control = name, camera, control
        self.stop = threading.Event()
        self.needs_webcam = camera is not None
        self.moment: Moment | None = None
        self.missing: list[str] = []
        self.progress: Progress | None = None
        self.ending: Ending | None = None
        self._thread = threading.Thread(target=self._run, name="face model", daemon=True)

    @property
    def has_begun(self) -> bool:
        """Whether the thread was started."""
        return self._thread.ident is not None

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end at most so long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        ending = Ending(FAILED, "something unexpected went wrong: the terminal says more")
        try:
            ending = self._make()
        except StoppedError:
            ending = Ending(STOPPED)
        except AvatarifyError as error:
            logger.warning("%s", error)
            ending = Ending(FAILED, str(error))
        finally:
            self.ending = ending

    def _make(self) -> Ending:
        film = film_folder(self._name) / GUIDED_FILM
        if self._camera is not None and not self._record(film, self._camera):
            return Ending(IDLE)
        wish = Wish(self._name, Material((film,), ()), SHIPPED_MODEL, MINUTES)
        outcome = Adaptation(wish, self._note_progress, self.stop).run()
        sheet = _sheet(outcome.sheet)
        if outcome.folder is None:
            _delete_work(self._name)
        else:
            shutil.rmtree(film_folder(self._name), ignore_errors=True)
        return Ending(DONE, outcome=outcome, sheet=sheet)

    def _record(self, film: Path, camera: str) -> bool:
        """Record the guided minute and return whether it was not stopped; if it was, nothing is kept."""
        try:
            film.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot record to {film.parent}: {error.strerror or error}") from error
        try:
            tally = record_guided_minute(camera, film, self.stop, self._note_moment, has_window=False, show=self._show)
        except AvatarifyError:
            shutil.rmtree(film.parent, ignore_errors=True)
            raise
        finally:
            self._control.show(time.time(), None, None)
        if self.stop.is_set():
            shutil.rmtree(film.parent, ignore_errors=True)
            return False
        self.missing = [need.name for need in tally.missing]
        self.needs_webcam, self.moment = False, None
        return True

    def _show(self, image: Image, moment: Moment) -> bool:
        self._control.show(time.time(), mirror(at_most(image, SHOWN_PX)), None)
        return True

    def _note_moment(self, moment: Moment) -> None:
        self.moment = moment

    def _note_progress(self, progress: Progress) -> None:
        self.progress = progress


def _problem() -> str | None:
    """Return why no model can be made here, in one line; None if one can."""
    try:
        Adaptation(Wish("own", Material((), ()), SHIPPED_MODEL, MINUTES), lambda _: None, threading.Event())
    except AvatarifyError as error:
        return str(error)
    return None


def _minute(moment: Moment) -> dict[str, Any]:
    """Return a moment of the guided minute for the page."""
    return {
        "step": moment.step.id,
        "left_s": math.ceil(moment.seconds_left),
        "needs": [need.name for need in moment.step.needs],
        "shown": [need.name for need in moment.step.needs if need in moment.shown],
        "has_face": moment.has_face,
    }


def _progress(progress: Progress) -> dict[str, Any]:
    """Return how far an adaptation is for the page."""
    return {
        "step": progress.step.name,
        "keeps_what_it_has": progress.step.name in SHARES,
        "number": progress.number,
        "count": len(STEPS),
        "share": None if progress.share is None else round(progress.share, 2),
        "minutes_left": max(round(progress.left_s / 60), 1),
    }


def _described(outcome: Outcome) -> dict[str, Any]:
    """Return what came out for the page: each measure with its change, and whether it is why nothing was kept."""
    gains = [
        {
            "name": found.name,
            "change": round(found.change, 3) if found.is_known else None,
            "is_error": found.is_error,
            "is_worse": found.is_worse,
            "is_to_blame": found in outcome.verdict.reasons,
            "figures": describe(found),
        }
        for found in outcome.verdict.comparisons
    ]
    harm = round(outcome.harm, 3) if outcome.is_for_one_face else 0
    return {"is_kept": outcome.folder is not None, "gains": gains, "harm": harm}


def _sheet(path: Path) -> str | None:
    """Return a picture as a data URL, SHEET_PX wide at most; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            picture = decode_file(file, None, None)
    except (OSError, ValueError) as error:
        logger.warning("cannot read %s: %s", path, error)
        return None
    height, width = picture.shape[:2]
    longer_px = round(max(width, height) * min(SHEET_PX / width, 1))
    return jpeg_url(picture, longer_px)


def _delete_work(name: str) -> None:
    for folder in (work_folder(name), film_folder(name)):
        shutil.rmtree(folder, ignore_errors=True)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
