"""From films of a person to a model that knows the face: step by step, each in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from avatarify_plus.adapt.material import OWN, Material, cut_photos
from avatarify_plus.adapt.own_models import model_folder, work_folder
from avatarify_plus.adapt.verdict import OTHERS_SLACK, Verdict, compare, describe, harm_to_others, judge
from avatarify_plus.bundle import ADAPTED, FOR_ONE_FACE, Bundle, open_bundle, write_manifest
from avatarify_plus.errors import AvatarifyError, ConfigError, DataError, SinkError
from avatarify_plus.program.checkout import checkout, child_environment, module_command
from avatarify_plus.program.examples import example
from avatarify_plus.program.whole_file import write_whole
from avatarify_plus.program.whole_folder import copy_folder, remove_folder

CLIP_S = 4.0
MIN_CLIP_S = 1.0
"""Films are cut into clips of this length at most, and at least: short ones, so that a fifth can be held back."""

MIN_FACE_PX = 128
"""The smallest square around the face that is used, in px of the film."""

MIN_FILM_S = 8.0
"""The face must be usable for so long, or there is nothing to learn from."""

HELD_BACK = 5
"""Every fifth clip is not trained on: there the models are compared."""

FIRST_HELD = 2

CALIBRATION_CLIPS = 12
SCORE_STRIDE = 4
"""Every fourth picture of the clips that are held back is scored."""

OTHERS_STRIDE = 12
CHECKPOINT, ADAPTED_WEIGHTS = "checkpoint.pt", "adapted.pt"
"""What training leaves in its run folder."""

BEFORE_AFTER = "before-after.png"
"""The name of the contact sheet in a model's folder: photo, driver, the new model, the one before."""

CLOSE_S = 40.0
"""A step that is asked to end has this time to save."""

PERCENT = re.compile(rb"(\d{1,3})%\|")
"""How the programs show how far they are."""

ONE_FACE = "Animating the face that it was adapted to, in video calls; other faces look worse than with {model}."
THE_FACE = "Animating the face that it was adapted to, in video calls."


class Step(NamedTuple):
    """One step. text: what it does, for people. usual_s: how long it usually takes on two cores, without training."""

    name: str
    text: str
    usual_s: float


STEPS = (
    Step("cut", "cutting the films", 30),
    Step("train", "learning the face", 0),
    Step("paint", "learning mouth and eyes", 30),
    Step("export", "writing the model", 15),
    Step("quantize", "making it fast", 60),
    Step("compare", "comparing it on clips it has not seen", 60),
)
SHARES = {"train": 0.65, "paint": 0.35}
"""The shares of the time to learn that the two steps of it have."""

PAINT_PAIRS = 240
"""From so many pairs of pictures the squares of mouths and eyes are cut."""

PAINT_RATE = 5e-4


class Progress(NamedTuple):
    """How far an adaptation is. number: of the step, from 1. share: of the step, None if unknown. left_s: in all."""

    step: Step
    number: int
    share: float | None
    left_s: float


class Wish(NamedTuple):
    """What is asked for. start: the bundle to start from, by its name or folder. minutes: of training."""

    name: str
    material: Material
    start: str
    minutes: float


class Outcome(NamedTuple):
    """What came out.

    harm: by how much other people's pictures differ more from the truth than before, as a share. folder: of the model,
    None if it was not better and is not kept. sheet: the pictures of both.
    """

    verdict: Verdict
    harm: float
    folder: Path | None
    sheet: Path

    @property
    def is_for_one_face(self) -> bool:
        """Whether other people's pictures lose more than they may."""
        return self.harm > OTHERS_SLACK


class StoppedError(AvatarifyError):
    """The user stopped; the same command goes on."""


class Adaptation:
    """Make a model for one face. What is finished is not done again by the next one with the same wish."""

    def __init__(
        self, wish: Wish, tell: Callable[[Progress], None], stop: threading.Event, cores: int = 2, anew: bool = False
    ) -> None:
        """tell: is called whenever there is progress. stop: set once during training, it ends that early and the rest
        goes on; set at another time, or cleared and set again, it ends everything. anew: forget what an earlier call
        has done. Raises ConfigError if what training needs is not installed, ModelError if there are no weights.
        """
        _require_trainer()
        self._wish, self._tell, self._stop, self._cores = wish, tell, stop, cores
        self._start: Bundle = open_bundle(wish.start)
        self._start.weights  # noqa: B018  # an installed copy without them is told so here
        self._work = work_folder(wish.name)
        self._step, self._step_began_s = STEPS[0], time.monotonic()
        self._share: float | None = None
        self._is_hurried = False
        if anew:
            self.forget()

    def forget(self) -> None:
        """Delete what was done so far."""
        if self._work.exists():
            shutil.rmtree(self._work)

    def run(self) -> Outcome:
        """Do the steps that are not done yet. Raises AvatarifyError; StoppedError if the user ended it."""
        self._prepare_folder()
        for step in STEPS:
            self._step, self._step_began_s, self._share = step, time.monotonic(), None
            done = self._work / f"{step.name}.done"
            if done.exists():
                continue
            self._report()
            getattr(self, f"_{step.name}")()
            write_whole(done, "")
        return self._conclude()

    # --- steps ---

    def _cut(self) -> None:
        clips, own, held = (self._work / name for name in ("clips", OWN, "held"))
        if own.exists() or held.exists():  # an earlier call ended while it divided the clips
            for folder in (clips, own, held):
                remove_folder(folder)
        clips.mkdir(exist_ok=True)
        size = self._start.config.image_size
        found: list[Path] = []
        reasons: list[str] = []
        seconds = 0.0
        for number, film in enumerate(self._wish.material.films):
            folder = clips / f"{number:03d}"
            options = ["--size", size, "--min-size", MIN_FACE_PX, "--min-seconds", MIN_CLIP_S, "--max-seconds", CLIP_S]
            self._child("training.prepare", film, folder, *options, "--processes", 1, may_fail=True)
            self._share = (number + 1) / len(self._wish.material.films)
            report = _read_json(folder / "report.json")
            reasons.append(_why_unused(film, report))
            seconds += report.get("seconds_kept", 0.0)
            found += sorted(folder.glob("*.mp4"))
        if seconds < MIN_FILM_S or len(found) < 2:
            raise DataError(
                f"the face can be used for {seconds:.0f} s of these films, and {MIN_FILM_S:.0f} s are needed: "
                + "; ".join(reason for reason in reasons if reason)
            )
        for folder in (own, held):
            folder.mkdir(exist_ok=True)
        first_held = min(FIRST_HELD, len(found) - 1)
        for number, clip in enumerate(found):
            is_held = number % HELD_BACK == first_held
            clip.replace((held if is_held else own) / f"{OWN}_{number:04d}.mp4")
        if self._wish.material.photos:
            cut_photos(self._wish.material.photos, self._work / "photos", size)
        write_whole(self._work / "cut.json", json.dumps({"seconds": round(seconds, 1), "clips": len(found)}))

    def _train(self) -> None:
        data = [self._work / OWN]
        if any((self._work / "photos").glob("*.png")):
            data.append(self._work / "photos")
        run = self._work / "run"
        options = ["--data", *data, "--out", run, "--minutes", SHARES["train"] * self._wish.minutes]
        self._child("training.adapt", self._start.folder, *options, ends_early=True)
        if not (run / ADAPTED_WEIGHTS).is_file():
            raise StoppedError("stopped before anything was learned: the same command goes on")

    def _paint(self) -> None:
        width, run = self._start.config.part_width, self._work / "run"
        if not width or self._is_hurried:
            return
        options = ["--data", self._work / OWN, "--out", self._work / "painters", "--cache", run / "cache"]
        options += ["--pairs", PAINT_PAIRS, "--minutes", SHARES["paint"] * self._wish.minutes, "--width", width]
        options += ["--photo-px", self._start.config.image_size, "--photo-share", 0, "--still-share", 0]
        options += ["--adversarial", 0, "--rate", PAINT_RATE]
        self._child("training.train_parts", run / ADAPTED_WEIGHTS, *options, ends_early=True)

    def _export(self) -> None:
        found = [self._work / "painters" / CHECKPOINT, self._work / "run" / ADAPTED_WEIGHTS]
        checkpoint = next(path for path in found if path.is_file())
        out = self._work / "bundle"
        self._child("export.onnx_bundle", checkpoint, out, "--name", self._wish.name, "--force")

    def _quantize(self) -> None:
        options = ["--clips", self._work / OWN, "--count", CALIBRATION_CLIPS]
        self._child("export.quantize", self._work / "bundle", *options)

    def _compare(self) -> None:
        others = self._work / "others"
        if not others.exists():
            self._child("training.prepare", example("driver.mp4"), others, "--max-seconds", 60, "--processes", 1)
        for name, clips, stride in (("others", others, OTHERS_STRIDE), ("held", self._work / "held", SCORE_STRIDE)):
            options = ["--model", self._work / "bundle", "--compare", self._start.folder, "--clips", clips]
            options += ["--stride", stride, "--processes", self._cores, "--json", self._work / f"{name}.json"]
            self._child("training.evaluate", *options, "--sheet", self._work / f"{name}.png")

    # --- the end ---

    def _conclude(self) -> Outcome:
        """Keep the model if it is better, with what was found, and delete the films' pictures."""
        verdict = judge(compare(_read_json(self._work / "held.json")))
        harm = harm_to_others(compare(_read_json(self._work / "others.json")))
        outcome = Outcome(verdict, harm, None, self._work / "held.png")
        if not verdict.is_better:
            return outcome
        bundle, cut = open_bundle(self._work / "bundle"), _read_json(self._work / "cut.json")
        about = {
            "name": self._wish.name,
            "from": self._start.manifest.name,
            "on": date.today().isoformat(),
            "seconds_of_film": cut["seconds"],
            "minutes": self._wish.minutes,
            "held_back": {found.name: describe(found) for found in verdict.comparisons},
            "others": round(harm, 3),
            FOR_ONE_FACE: outcome.is_for_one_face,
        }
        use = ONE_FACE.format(model=self._start.manifest.name) if outcome.is_for_one_face else THE_FACE
        training = bundle.manifest.training | {ADAPTED: about}
        target = model_folder(self._wish.name)
        try:
            write_manifest(bundle.folder, replace(bundle.manifest, training=training, intended_use=use))
            shutil.copyfile(outcome.sheet, bundle.folder / BEFORE_AFTER)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_folder(bundle.folder, target)
            shutil.rmtree(self._work)
        except OSError as error:
            raise SinkError(f"cannot keep the model: {error}") from error
        return outcome._replace(folder=target, sheet=target / BEFORE_AFTER)

    # --- how a step is done ---

    def _child(self, module: str, *arguments: object, may_fail: bool = False, ends_early: bool = False) -> None:
        """Run a program to its end. ends_early: whether to go on with the next step if the user stops it.

        Raises DataError with the program's own error, StoppedError if the user stopped.
        """
        command = module_command("avatarify_plus.adapt.child", [module, *map(str, arguments)])
        with open(self._work / "log.txt", "ab") as log:
            log.write(f"\n== {module} {' '.join(map(str, arguments))}\n".encode())
            log.flush()
            with _process(command, self._work) as process:
                said = _Reader(process)
                try:
                    while process.poll() is None:
                        if self._stop.wait(0.5):
                            self._ask_to_end(process)
                            if not ends_early:
                                raise StoppedError("stopped; the same command goes on from here")
                            self._stop.clear()
                            self._is_hurried = True
                            break
                        if module != "training.prepare":  # of several films each begins at 0 %
                            self._share = said.share
                        self._report()
                finally:
                    if process.poll() is None:
                        self._ask_to_end(process)
                    log.write(said.end())
            if process.returncode and not may_fail and not (ends_early and process.returncode < 0):
                raise DataError(f"{self._step.text} failed: {said.error or f'see {log.name}'}")

    def _ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        """Close what a program ends with, and wait until it has saved."""
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _report(self) -> None:
        number = STEPS.index(self._step)
        usual = [step.usual_s + 60 * self._wish.minutes * SHARES.get(step.name, 0) for step in STEPS]
        passed_s = time.monotonic() - self._step_began_s
        share = self._share
        own = usual[number] * (1 - share) if share else max(usual[number] - passed_s, 0.0)
        self._tell(Progress(self._step, number + 1, share, own + sum(usual[number + 1 :])))

    def _prepare_folder(self) -> None:
        """Go on in the work folder if it belongs to the same wish, otherwise begin anew there. Raises SinkError."""
        known = self._work / "wish.json"
        wanted = _fingerprint(self._wish, self._start)
        try:
            if self._work.exists() and not (known.is_file() and known.read_text() == wanted):
                shutil.rmtree(self._work)
            self._work.mkdir(parents=True, exist_ok=True)
            write_whole(known, wanted)
        except OSError as error:
            raise SinkError(f"cannot work in {self._work}: {error.strerror or error}") from error


class _Reader:
    """Read what a process says, in a thread: how far it is, and its error."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.share: float | None = None
        self._said = bytearray()
        assert process.stdout is not None
        self._stream = process.stdout
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while part := self._stream.read1(4096):  # type: ignore[attr-defined]
            self._said += part
            shown = PERCENT.findall(part)
            if shown:
                self.share = min(int(shown[-1]), 100) / 100

    def end(self) -> bytes:
        """Return all that was said."""
        self._thread.join(5)
        return bytes(self._said)

    @property
    def error(self) -> str:
        """The program's error, empty if it said none."""
        lines = self._said.decode(errors="replace").replace("\r", "\n").splitlines()
        marked = [line.partition("error: ")[2] for line in lines if line.startswith("avatarify: error: ")]
        return marked[-1] if marked else ""


@contextlib.contextmanager
def _process(command: Sequence[str], folder: Path) -> Any:
    """Start a process of low priority, apart from the terminal's Ctrl-C."""
    low = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=child_environment(),
        start_new_session=sys.platform != "win32",
        creationflags=low,
    )
    try:
        yield process
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _require_trainer() -> None:
    if checkout() is None:
        raise ConfigError("adapting needs the project's source with its trainer: run avatarify from a checkout of it")
    import importlib.util

    missing = [
        name for name in ("torch", "safetensors", "onnx", "onnxscript") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f"adapting needs the package {missing[0]}: pip install -r requirements-train.txt")


def _fingerprint(wish: Wish, start: Bundle) -> str:
    """Return what the steps depend on."""
    files = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (*wish.material.films, *wish.material.photos)
    ]
    model = hashlib.sha256(json.dumps(start.manifest.files, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": files, "start": model, "minutes": wish.minutes}, indent=1)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _why_unused(film: Path, report: dict[str, Any]) -> str:
    """Return what of a film cannot be used and why, empty if all of it can."""
    if not report:
        return f"{film} cannot be read"
    rejected = ", ".join(f"{count} x {reason}" for reason, count in report.get("rejected", {}).items())
    damaged = ", ".join(str(problem) for problem in report.get("damaged", {}).values())
    kept, of = report.get("seconds_kept", 0.0), report.get("seconds", 0.0)
    why = "; ".join(part for part in (rejected, damaged) if part)
    return f"{film}: {kept:.0f} of {of:.0f} s" + (f" ({why})" if why else "")
