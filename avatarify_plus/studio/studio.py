"""The command `avatarify studio`: the app behind a page in the user's browser."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from avatarify_plus import live, settings
from avatarify_plus.camera import FrameSource
from avatarify_plus.camera.device_list import known_cameras
from avatarify_plus.config import AppConfig
from avatarify_plus.errors import AvatarifyError, SinkError
from avatarify_plus.preview.keys import Press
from avatarify_plus.program.addresses import shown
from avatarify_plus.program.command_line import ProgramParser, configure_logging, run_program
from avatarify_plus.program.ending import DONE
from avatarify_plus.program.examples import example
from avatarify_plus.program.model_option import MODEL_HELP, SHIPPED_MODEL
from avatarify_plus.program.option_fields import parse_size
from avatarify_plus.program.stop import stop_on_signal
from avatarify_plus.program.user_folders import films_folder
from avatarify_plus.session.avatars import photos_in
from avatarify_plus.session.key_actions import KeyActions
from avatarify_plus.session.session import Session
from avatarify_plus.session.status_line import StatusLine
from avatarify_plus.sinks import Outputs
from avatarify_plus.sinks.recorder import Recorder
from avatarify_plus.sinks.virtual_camera import VirtualCamera
from avatarify_plus.studio.face_model import FaceModel
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.studio.model_in_use import ModelInUse, keep, open_kept
from avatarify_plus.studio.server import StudioServer
from avatarify_plus.web.page_control import PageControl
from avatarify_plus.web.session_page import fixed_state, key_press, moment_of, named_press, values_of, wanted_values

logger = logging.getLogger(__name__)

DESCRIPTION = """\
Open the studio: a page in your browser to choose a photo and a webcam, to see what others see, and to set how the
avatar moves. The page is served on this computer alone, and nothing leaves it."""

EXAMPLES = (
    "avatarify studio",
    "avatarify studio --avatar face.jpg --camera 1",
    "avatarify studio --no-browser --port 8471",
)

CLIP = "clip"
"""The driver that is the bundled film, as the page names it."""

GIVEN = "given"
"""The driver that the command line gave, which may hold a password: pages know it by this name."""

STATE_S = 0.1
CAMERAS_S = 3.0
"""So often it is looked which webcams there are, while none runs."""


class _Running(NamedTuple):
    """A run of the loop, as requests act on it."""

    session: Session
    frame_source: FrameSource
    outputs: Outputs
    status_line: StatusLine
    key_actions: KeyActions
    stop: threading.Event


class Studio:
    """Wait for what the page asks for, and run the loop as it wants it. Everything happens in one thread, `run`'s."""

    def __init__(
        self, control: PageControl, gallery: Gallery, config: AppConfig, model: ModelInUse, camera: str
    ) -> None:
        """config: the options of every run but those that the page chooses. model: the one to begin with, which stays
        open. camera: the driver to begin with.
        """
        self._control = control
        self._gallery = gallery
        self._model = model
        self._wanted_model = model.name
        self._face_model = FaceModel(control)
        self._given_camera = camera if camera not in (CLIP, "") and not camera.isdigit() else None
        self._config = replace(config, **settings.load()) if config.config else config
        self._kept = self._config
        self._camera = GIVEN if self._given_camera else camera
        self._photo = gallery.photos[0].path.name if gallery.photos else ""
        self._wants_run = False
        self._is_over = False
        self._stop = threading.Event()
        self._running: _Running | None = None
        self._recording: Recorder | None = None
        self._published_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Serve the page's requests until it ends the studio or `stop` is set."""
        self._stop = stop
        self._publish_choices()
        self._face_model.publish_models(self._model.name)
        self._control.publish(
            phase="idle",
            system=sys.platform,
            notice=settings.notice_pending(),
            **fixed_state(),
        )
        listed_s = 0.0
        while not stop.is_set() and not self._is_over:
            if time.monotonic() - listed_s > CAMERAS_S and not self._face_model.has_webcam:
                listed_s = time.monotonic()
                self._publish_cameras()
            self._obey_all()
            self._face_model.refresh(webcam_is_free=True)
            if self._wanted_model != self._model.name:
                self._change_model()
            elif self._wants_run and self._gallery.photos:
                self._wants_run = False
                self._run_once()
            else:
                self._control.wakes.wait(0.2)
        self._keep()
        self._face_model.close()

    # --- one run ---

    def _run_once(self) -> None:
        """Run the loop until it is asked to end, and say why it ended if nobody asked."""
        self._control.publish(phase="starting", error=None, saved=None, camera_trouble=None, outputs_trouble=None)
        ended = threading.Event()
        error = None
        try:
            live.run(self._wanted(), self._model.engine, stop=ended, watch=self._begin)
        except AvatarifyError as failure:
            error = str(failure)
            logger.warning("%s", failure)
        finally:
            if self._running is not None:
                self._take_over(self._running.session)
            self._running = self._recording = None
        self._keep()
        phase = "failed" if error else "idle"
        self._control.publish(
            phase=phase, error=error, recording=None, virtual={}, stats={}, panicking=False, passes=False
        )

    def _wanted(self) -> AppConfig:
        return replace(self._config, avatar=(self._gallery.folder,), camera=self._driver(self._camera), live=True)

    def _driver(self, camera: str) -> str:
        """Return what the app calls a driver that the page knows by another name."""
        return {CLIP: str(example("driver.mp4")), GIVEN: self._given_camera}.get(camera, camera) or "0"

    def _change_model(self) -> None:
        """Use the model that is wanted; if it cannot be used, say so and stay with the one before."""
        self._control.publish(phase="starting", error=None)
        config, error = replace(self._config, model=self._wanted_model), None
        try:
            self._model.change(config)
            self._config = config
            if config.config:
                keep(config.model)
        except AvatarifyError as failure:
            error = str(failure)
            logger.warning("%s", failure)
        self._wanted_model = self._model.name
        self._control.publish(phase="idle")
        self._face_model.publish_models(self._model.name, error)

    def _begin(
        self,
        session: Session,
        frame_source: FrameSource,
        outputs: Outputs,
        status_line: StatusLine,
        ended: threading.Event,
    ) -> Studio:
        key_actions = KeyActions(session, ended)
        self._running = _Running(session, frame_source, outputs, status_line, key_actions, ended)
        self._choose_photo(self._photo)
        return self

    def refresh(self) -> None:
        """Show this moment and obey what was asked since the last one; the loop calls it once a turn."""
        running = self._running
        assert running is not None
        session = running.session
        captured_s = time.time() - (time.perf_counter() - session.captured_at)
        self._control.show(captured_s, None if session.view is None else session.view.image, session.sent)
        self._obey_all()
        self._face_model.refresh(webcam_is_free=False)
        if self._stop.is_set():
            running.stop.set()
        now_s = time.monotonic()
        if now_s - self._published_s >= STATE_S:
            self._published_s = now_s
            self._publish_moment(running)

    def _publish_moment(self, running: _Running) -> None:
        self._take_over(running.session)
        if self._recording is not None and not running.outputs.has(self._recording):
            self._recording = None  # the disk is full, which the outputs' trouble says
        camera = running.outputs.find(VirtualCamera.name)
        self._control.publish(
            **moment_of(running.session, running.status_line),
            photo=self._photo,
            camera_trouble=running.frame_source.trouble,
            outputs_trouble=running.outputs.trouble,
            virtual={"device": getattr(camera, "label", None)},
            recording=None if self._recording is None else str(self._recording.path),
        )

    def _take_over(self, session: Session) -> None:
        """Remember what keys and sliders have made of a session, for the next one."""
        kept = {name: getattr(session.config, name) for name in settings.persistent_fields()}
        self._config = replace(self._config, **kept)
        self._photo = session.avatars.path.name

    # --- what the page asks for ---

    def _obey_all(self) -> None:
        for request in self._control.requests():
            for name, value in request.items():
                action = getattr(self, f"_on_{name}", None)
                if action is not None:
                    action(value)

    def _on_start(self, _: object) -> None:
        self._wants_run = not self._face_model.has_webcam

    def _on_stop(self, _: object) -> None:
        self._wants_run = False
        self._end_run()

    def _on_quit(self, _: object) -> None:
        self._is_over = True
        self._on_stop(None)

    def _end_run(self) -> None:
        if self._running is not None:
            self._running.stop.set()

    def _on_agree(self, _: object) -> None:
        settings.mark_notice_shown()
        self._control.publish(notice=False)

    def _on_camera(self, camera: object) -> None:
        known = {choice["id"] for choice in self._control.state["cameras"]}
        if not isinstance(camera, str) or camera not in known or camera == self._camera:
            return
        self._camera = camera
        self._control.publish(camera=self._camera)
        if self._running is not None:
            self._wants_run = True
            self._end_run()

    def _on_photos(self, _: object) -> None:
        if self._running is not None:
            self._running.session.reload_avatars()
        self._publish_choices()

    def _on_choose(self, name: object) -> None:
        photo = self._gallery.find(str(name))
        if photo is None:
            return
        self._photo = photo.path.name
        self._control.publish(photo=self._photo, photo_error=None)
        if self._running is not None:
            self._choose_photo(self._photo)

    def _choose_photo(self, name: str) -> None:
        assert self._running is not None
        try:
            self._running.session.choose_path(self._gallery.folder / name)
        except AvatarifyError as error:
            self._control.publish(photo_error=str(error).replace(str(self._gallery.folder) + "/", ""))

    def _on_remove(self, name: object) -> None:
        photo = self._gallery.find(str(name))
        if photo is None or (self._running is not None and len(self._gallery.photos) == 1):
            return
        self._gallery.remove(photo.path)
        if self._photo == photo.path.name:
            self._on_choose(self._gallery.photos[0].path.name if self._gallery.photos else "")
        self._on_photos(None)

    def _on_press(self, name: object) -> None:
        self._press(named_press(name))

    def _on_key(self, key: object) -> None:
        self._press(key_press(key))

    def _press(self, press: Press | None) -> None:
        if self._running is not None and press is not None:
            self._running.key_actions.obey(press)

    def _on_set(self, values: object) -> None:
        for name, value in wanted_values(values).items():
            if self._running is not None:
                self._running.key_actions.change(name, value)
            self._config = replace(self._config, **{name: value})
        self._control.publish(values=values_of(self._config))

    def _on_record(self, wants: object) -> None:
        running = self._running
        if running is None or bool(wants) == (self._recording is not None):
            return
        if self._recording is not None:
            self._end_recording(running, self._recording)
            return
        path = _films() / f"avatarify {datetime.now():%Y-%m-%d %H.%M.%S}.mp4"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._recording = Recorder(path, running.session.size, running.frame_source.rate)
            running.outputs.add(self._recording)
            self._control.publish(saved=None, error=None)
        except (OSError, SinkError) as error:
            self._control.publish(error=f"cannot record to {path}: {error}")

    def _end_recording(self, running: _Running, recording: Recorder) -> None:
        self._recording = None
        try:
            running.outputs.take_away(recording)
            self._control.publish(saved=str(recording.path))
        except SinkError as error:
            self._control.publish(error=str(error))

    def _on_adapt(self, values: object) -> None:
        if not isinstance(values, dict):
            return
        name, camera = str(values.get("name", "")).strip(), values.get("camera")
        is_webcam = camera != CLIP and camera in [choice["id"] for choice in self._control.state["cameras"]]
        if self._face_model.begin(name, values.get("agreed") is True, self._driver(str(camera)) if is_webcam else None):
            self._wants_run = False
            self._end_run()

    def _on_adapt_go_on(self, name: object) -> None:
        self._face_model.go_on(str(name))

    def _on_adapt_stop(self, _: object) -> None:
        self._face_model.end()

    def _on_adapt_forget(self, name: object) -> None:
        self._face_model.forget(str(name))

    def _on_adapt_close(self, _: object) -> None:
        self._face_model.clear()

    def _on_use_model(self, name: object) -> None:
        models = self._control.state["models"]
        if name not in [models["shipped"], *(model["name"] for model in models["own"])]:
            return
        self._wanted_model = str(name)
        if self._running is not None and self._wanted_model != self._model.name:
            self._wants_run = True
            self._end_run()

    def _on_delete_model(self, name: object) -> None:
        if name != self._wanted_model:
            self._face_model.delete(str(name))

    # --- what the page is told ---

    def _publish_choices(self) -> None:
        photos = [
            {"file": each.path.name, "name": each.name, "thumbnail": each.thumbnail} for each in self._gallery.photos
        ]
        if self._gallery.find(self._photo) is None:
            self._photo = self._gallery.photos[0].path.name if self._gallery.photos else ""
        self._control.publish(photos=photos, photo=self._photo, values=values_of(self._config))

    def _publish_cameras(self) -> None:
        choices: list[dict[str, str]] = [
            {"id": str(camera.index), "name": camera.name} for camera in known_cameras() if not camera.is_virtual
        ]
        if self._given_camera:
            choices.insert(0, {"id": GIVEN, "name": shown(self._given_camera), "word": ""})
        choices.append({"id": CLIP, "name": CLIP, "word": "clip"})
        ids = [choice["id"] for choice in choices]
        if self._camera not in ids:
            self._camera = ids[0]
        self._control.publish(cameras=choices, camera=self._camera)

    def _keep(self) -> None:
        now = {name: getattr(self._config, name) for name in settings.persistent_fields()}
        changes = {name: value for name, value in now.items() if value != getattr(self._kept, name)}
        if self._config.config and changes:
            settings.save(changes)
        self._kept = self._config


def _films() -> Path:
    """Return where recordings go: the user's folder of films, or here for a user without a home."""
    try:
        return films_folder()
    except FileNotFoundError:
        return Path.cwd()


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = ProgramParser(
        prog="avatarify studio", usage="avatarify studio [OPTIONS]", description=DESCRIPTION, examples=EXAMPLES
    )
    parser.add_argument(
        "--avatar", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to offer, or folders"
    )
    parser.add_argument("--camera", default="", metavar="DRIVER", help="who moves the face, as of `avatarify --camera`")
    parser.add_argument("--model", help=f"{MODEL_HELP} (default: the one that was used last, at first {SHIPPED_MODEL})")
    parser.add_argument("--size", type=parse_size, metavar="WxH", help="size of the picture that is sent")
    parser.add_argument("--virtual-camera-device", metavar="NAME", help="which virtual camera, as of `avatarify`")
    parser.add_argument("--no-badge", action="store_true", help="do not mark the picture as made by AI")
    parser.add_argument("--no-config", action="store_true", help="neither use nor keep what was set in earlier calls")
    parser.add_argument("--port", type=int, default=0, help="port on loopback (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address instead of opening it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the studio and return the exit code, see `program.command_line`."""
    with stop_on_signal() as stop:
        return run_program(lambda: _main(arguments, stop))


def _main(arguments: list[str] | None, stop: threading.Event) -> int:
    options = build_parser().parse_args(arguments)
    configure_logging(options.verbose, ("avatarify_plus.studio", "avatarify_plus.live", "avatarify_plus.sinks"))
    photos: Sequence[Path] = options.avatar or [path for path in _examples() if path.is_file()]
    with ExitStack() as stack:
        gallery = stack.enter_context(Gallery())
        gallery.add_files(photos_in(photos))
        config = AppConfig(
            avatar=(gallery.folder,),
            model=options.model or SHIPPED_MODEL,
            size=options.size,
            badge=not options.no_badge,
            preview=False,
            virtual_camera_device=options.virtual_camera_device,
            config=not options.no_config,
        )
        control = PageControl()
        token = secrets.token_urlsafe(24)
        server = stack.enter_context(StudioServer(control, gallery, token, options.port))
        logger.info("the studio is at %s", server.url)
        if not options.no_browser and not webbrowser.open(server.url):
            logger.warning("no browser could be opened: open that address yourself")
        control.publish(phase="starting")
        open_model = open_kept if options.model is None and config.config else ModelInUse
        model = stack.enter_context(open_model(config))
        Studio(control, gallery, replace(config, model=model.name), model, options.camera).run(stop)
    return DONE


def _examples() -> list[Path]:
    return [example(f"avatar_{number}.jpg") for number in (2, 1, 3)]
