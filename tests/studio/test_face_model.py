"""A model that knows the user's face, as a page asks for it: guided minute, training and engines are fakes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from test_studio import Desk, FakeCamera, is_running

from avatarify_plus import live
from avatarify_plus.adapt.expressions import Need, Tally
from avatarify_plus.adapt.guided_minute import STEPS, Moment
from avatarify_plus.adapt.own_models import GUIDED_FILM, film_folder, model_folder, work_folder
from avatarify_plus.config import AppConfig
from avatarify_plus.engines import Engine
from avatarify_plus.errors import CameraError, ConfigError, DataError, EngineError
from avatarify_plus.program.model_option import SHIPPED_MODEL
from avatarify_plus.studio import face_model as face_model_module
from avatarify_plus.studio import studio as studio_module
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.studio.model_in_use import ModelInUse, keep, kept, open_kept
from avatarify_plus.studio.studio import CLIP, GIVEN, Studio
from avatarify_plus.types import Size
from avatarify_plus.web.page_control import PageControl
from fakes import EXAMPLES, FakeEngine
from workshop import Workshop, progress

DRIVER = str(EXAMPLES / "driver.mp4")
TURN = Moment(STEPS[1], 7.2, frozenset({Need.LEFT, Need.UP}), True, False)
WISH = {"name": "anna", "agreed": True, "camera": GIVEN}

Open = Callable[..., Desk]


class Engines:
    """Opens fakes, and knows which are open; the model that is called `broken` cannot be."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.engines: list[FakeEngine] = []

    def __call__(self, config: AppConfig) -> Engine:
        self.opened.append(config.model)
        if config.model == "broken":
            raise EngineError("cannot open broken")
        self.engines.append(FakeEngine())
        return self.engines[-1]

    @property
    def open_count(self) -> int:
        return sum(not engine.is_closed for engine in self.engines)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    for kind in ("DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    made = Workshop()
    monkeypatch.setattr(face_model_module, "Adaptation", made.adaptation)
    monkeypatch.setattr(face_model_module, "record_guided_minute", made.record)
    return made


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def open_desk(workshop: Workshop, engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(studio_module, "known_cameras", lambda: [])
    monkeypatch.setattr(live, "VirtualCamera", FakeCamera)
    desks: list[Desk] = []
    with Gallery() as gallery:
        gallery.add_files([EXAMPLES / "avatar_1.jpg"])
        config = AppConfig(avatar=(gallery.folder,), preview=False, size=Size(128, 64))

        def open_it(camera: str = DRIVER) -> Desk:
            control = PageControl()
            studio = Studio(control, gallery, config, ModelInUse(config, engines), camera)
            desks.append(Desk(studio, control, gallery))
            desks[-1].wait(lambda state: state.get("cameras") and state.get("adapt"))
            return desks[-1]

        yield open_it
        for desk in desks:
            desk.close()


def in_stage(stage: str) -> Callable[[dict[str, Any]], bool]:
    return lambda state: state["adapt"]["stage"] == stage


def names(state: dict[str, Any]) -> list[str]:
    return [model["name"] for model in state["models"]["own"]]


def test_from_the_guided_minute_to_a_model_that_is_used(open_desk: Open, workshop: Workshop, engines: Engines) -> None:
    desk = open_desk()
    desk.ask(start=True)
    desk.wait(is_running)
    desk.ask(adapt=WISH)
    workshop.let(TURN)
    state = desk.wait(lambda state: state["minute"])
    assert state["phase"] == "idle", "the avatar has let the webcam go"
    assert state["adapt"]["stage"] == "recording" and workshop.cameras == [DRIVER]
    assert state["minute"] == {
        "step": "turn",
        "left_s": 8,
        "needs": ["LEFT", "RIGHT", "UP", "DOWN"],
        "shown": ["LEFT", "UP"],
        "has_face": True,
    }
    desk.wait(lambda _: desk.control.pictures.driver is not None)
    shown = desk.control.pictures.driver
    assert shown is not None and (shown[0, 0, 0], shown[0, -1, 0]) == (50, 200), "a mirror"
    assert desk.control.pictures.sent is None

    workshop.let(Tally(), progress("train", 0.25, 200.0))
    state = desk.wait(lambda state: state["adapting"])
    assert (state["adapt"]["stage"], state["minute"]) == ("working", None)
    assert state["adapting"] | {"count": 0, "number": 0} == {
        "step": "train",
        "keeps_what_it_has": True,
        "number": 0,
        "count": 0,
        "share": 0.25,
        "minutes_left": 3,
    }
    assert state["adapt"]["missing"] == [need.name for need in Need]
    (wish,) = workshop.wishes
    assert (wish.name, wish.start, wish.material.films) == ("anna", SHIPPED_MODEL, (film_folder("anna") / GUIDED_FILM,))
    desk.ask(start=True)
    desk.wait(is_running)  # a call meanwhile

    workshop.let(lambda: workshop.outcome("anna", harm=0.08))
    state = desk.wait(in_stage("done"))
    result = state["adapt"]["result"]
    assert result["is_kept"] and result["harm"] == 0.08
    assert [(gain["name"], gain["change"]) for gain in result["gains"]][:3] == [
        ("picture", -0.225),
        ("mouth", -0.317),
        ("eyes", -0.16),
    ]
    assert result["gains"][6]["change"] is None, "what could not be measured is no number"
    kind, _, data = state["adapt_sheet"].partition(",")
    assert kind == "data:image/jpeg;base64" and Pillow.open(io.BytesIO(base64.b64decode(data))).size == (800, 1304)
    assert not film_folder("anna").exists() and not work_folder("anna").exists()
    assert names(state) == ["anna"] and state["models"]["used"] == SHIPPED_MODEL

    desk.ask(use_model="anna")
    desk.wait(lambda state: state["models"]["used"] == "anna" and is_running(state))
    assert engines.opened == [SHIPPED_MODEL, "anna"] and engines.open_count == 1
    desk.ask(adapt_close=True)
    desk.wait(lambda state: in_stage("idle")(state) and state["adapt_sheet"] is None)


def test_a_model_that_is_not_better_is_not_kept_and_nothing_stays(open_desk: Open, workshop: Workshop) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH)
    workshop.let(Tally(), lambda: workshop.outcome("anna", is_better=False))
    state = desk.wait(in_stage("done"))
    assert not state["adapt"]["result"]["is_kept"] and state["adapt_sheet"]
    assert [gain["name"] for gain in state["adapt"]["result"]["gains"] if gain["is_to_blame"]] == ["mouth"]
    assert not film_folder("anna").exists() and not work_folder("anna").exists()
    assert not names(state) and not state["models"]["unfinished"]


def test_a_minute_that_is_stopped_leaves_nothing(open_desk: Open, workshop: Workshop) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH)
    workshop.let(TURN)
    desk.wait(lambda state: state["minute"])
    desk.ask(start=True)  # the webcam is taken
    desk.ask(adapt_stop=True)
    state = desk.wait(in_stage("idle"))
    assert not film_folder("anna").exists() and not workshop.wishes
    assert state["phase"] == "idle" and state["adapt"]["error"] is None and desk.control.pictures.driver is None


def test_a_stop_while_it_learns_goes_on_and_another_one_can_be_taken_up_again(
    open_desk: Open, workshop: Workshop
) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH)
    workshop.let(Tally(), progress("train"))
    desk.wait(lambda state: state["adapting"] and state["adapting"]["keeps_what_it_has"])
    desk.ask(adapt_stop=True)
    state = desk.wait(lambda state: state["adapting"]["step"] == "export")
    assert not state["adapting"]["keeps_what_it_has"] and in_stage("working")(state)
    desk.ask(adapt_stop=True)
    state = desk.wait(in_stage("stopped"))
    assert state["models"]["unfinished"] == ["anna"] and (film_folder("anna") / GUIDED_FILM).is_file()
    desk.ask(adapt_go_on="bert")
    desk.ask(adapt_go_on="anna")
    workshop.let(lambda: workshop.outcome("anna"))
    state = desk.wait(in_stage("done"))
    assert len(workshop.wishes) == 2 and workshop.wishes[0] == workshop.wishes[1] and len(workshop.cameras) == 1
    assert names(state) == ["anna"] and state["models"]["unfinished"] == []


def test_the_studio_ends_while_it_works_and_the_next_one_offers_to_go_on(open_desk: Open, workshop: Workshop) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH)
    workshop.let(Tally(), progress("train"))
    desk.wait(lambda state: state["adapting"])
    desk.ask(quit=True)
    assert desk.is_over()
    state = open_desk().wait(lambda state: state["models"]["unfinished"])
    assert state["models"]["unfinished"] == ["anna"] and state["adapt"]["stage"] == "idle"


def test_what_is_unfinished_can_be_deleted(open_desk: Open, workshop: Workshop) -> None:
    film_folder("anna").mkdir(parents=True)
    (film_folder("anna") / GUIDED_FILM).write_bytes(b"a film")
    work_folder("anna").mkdir()
    desk = open_desk()
    desk.ask(adapt_forget="anna")
    desk.wait(lambda state: state["models"]["unfinished"] == [])
    assert not film_folder("anna").exists() and not work_folder("anna").exists()


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({"agreed": False}, "only your own face"),
        ({"agreed": "yes"}, "only your own face"),
        ({"name": ""}, "cannot be a model's name"),
        ({"name": "../anna"}, "cannot be a model's name"),
        ({"name": SHIPPED_MODEL}, "a shipped model's name"),
        ({"camera": CLIP}, "no webcam is chosen"),
        ({"camera": "/etc/passwd"}, "no webcam is chosen"),
        ({"camera": ["0"]}, "no webcam is chosen"),
    ],
)
def test_what_cannot_be_begun_is_one_line(
    open_desk: Open, workshop: Workshop, wish: dict[str, Any], problem: str
) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH | wish)
    state = desk.wait(lambda state: state["adapt"]["error"])
    assert problem in state["adapt"]["error"] and not workshop.cameras
    desk.ask(adapt=WISH)
    workshop.let(TURN)
    assert desk.wait(lambda state: state["minute"])["adapt"]["error"] is None


@pytest.mark.parametrize("error", [CameraError("it was lost"), DataError("no face was seen")], ids=str)
def test_a_failure_is_one_line_and_a_film_without_a_face_does_not_stay(
    open_desk: Open, workshop: Workshop, error: Exception
) -> None:
    desk = open_desk()
    desk.ask(adapt=WISH)
    is_recorded = isinstance(error, DataError)
    workshop.let(*[Tally()] * is_recorded, error)
    state = desk.wait(in_stage("failed"))
    assert state["adapt"]["error"] == str(error)
    assert film_folder("anna").exists() == is_recorded == (state["models"]["unfinished"] == ["anna"])
    desk.ask(start=True)
    desk.wait(is_running)


def test_where_training_is_not_installed_the_card_says_so(open_desk: Open, workshop: Workshop) -> None:
    workshop.problem = ConfigError("adapting needs the package torch")
    desk = open_desk()
    assert desk.control.state["adapt"]["problem"] == "adapting needs the package torch"
    desk.ask(adapt=WISH)
    assert desk.wait(lambda state: state["adapt"]["error"])["adapt"]["stage"] == "failed"
    assert not workshop.cameras


def test_models_are_exchanged_deleted_and_remembered(open_desk: Open, workshop: Workshop, engines: Engines) -> None:
    for name in ("anna", "broken"):
        workshop.outcome(name)
    desk = open_desk()
    assert names(desk.control.state) == ["anna", "broken"]
    desk.ask(use_model="../anna")
    desk.ask(use_model="anna")
    desk.wait(lambda state: state["models"]["used"] == "anna" and state["phase"] == "idle")
    assert kept() == "anna" and engines.open_count == 1
    desk.ask(delete_model="anna")  # which is in use
    desk.ask(use_model="broken")
    state = desk.wait(lambda state: state["models"]["error"])
    assert state["models"]["error"] == "cannot open broken" and state["models"]["used"] == "anna"
    assert names(state) == ["anna", "broken"] and engines.open_count == 1
    desk.ask(use_model=SHIPPED_MODEL)
    desk.wait(lambda state: state["models"]["used"] == SHIPPED_MODEL and state["models"]["error"] is None)
    desk.ask(delete_model="anna")
    desk.wait(lambda state: names(state) == ["broken"])
    assert not model_folder("anna").exists()


def test_the_kept_model_is_used_again_unless_it_is_gone(engines: Engines, caplog: pytest.LogCaptureFixture) -> None:
    config = AppConfig(avatar=(EXAMPLES,))
    with open_kept(config, engines) as model:
        assert model.name == SHIPPED_MODEL and kept() is None
    keep("anna")
    with open_kept(config, engines) as model:
        assert model.name == "anna"
    keep("broken")
    with open_kept(config, engines) as model:
        assert model.name == SHIPPED_MODEL
    assert f"cannot open broken; going on with {SHIPPED_MODEL}" in caplog.text and engines.open_count == 0
