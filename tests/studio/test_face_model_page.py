"""A model that knows the user's face, as people see it: the page in a real browser, a film as the webcam."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avatarify_plus import settings
from avatarify_plus.adapt import webcam_film
from avatarify_plus.adapt.expressions import Need
from avatarify_plus.adapt.own_models import film_folder, model_folder
from avatarify_plus.config import AppConfig
from avatarify_plus.studio import face_model as face_model_module
from avatarify_plus.studio.gallery import Gallery
from avatarify_plus.studio.model_in_use import ModelInUse
from avatarify_plus.studio.server import StudioServer
from avatarify_plus.studio.studio import Studio
from avatarify_plus.types import Size
from avatarify_plus.web.page_control import PageControl
from chromium import CHROMIUM, Page, browser_page
from fakes import EXAMPLES, FakeEngine
from pages import NAMELESS
from workshop import HeldMinute, Workshop, progress

TOKEN = "the-token-of-the-tests"
LIGHT = """(() => {
  const canvas = document.getElementById("minute-picture");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return canvas.width >= 640 && data.some((level, place) => place % 4 < 3 && level > 100);
})()
"""
"""Whether a large picture is shown before the person."""


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    for kind in ("DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    made = Workshop()
    monkeypatch.setattr(face_model_module, "Adaptation", made.adaptation)
    monkeypatch.setattr(webcam_film, "GuidedMinute", HeldMinute)
    return made


@pytest.fixture
def page(workshop: Workshop) -> Iterator[Page]:
    """Return the page of a studio whose webcam is a film."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt install chromium")
    settings.mark_notice_shown()
    control, stop = PageControl(), threading.Event()
    with Gallery() as gallery, StudioServer(control, gallery, TOKEN) as server, browser_page() as page:
        gallery.add_files([EXAMPLES / "avatar_1.jpg"])
        config = AppConfig(avatar=(gallery.folder,), preview=False, size=Size(320, 180))
        model = ModelInUse(config, lambda _: FakeEngine())
        studio = Studio(control, gallery, config, model, str(EXAMPLES / "driver.mp4"))
        thread = threading.Thread(target=studio.run, args=(stop,))
        thread.start()
        page.open(server.url)
        try:
            yield page
        finally:
            stop.set()
            thread.join()


def text(page: Page, name: str) -> str:
    return str(page.value(f"document.getElementById('{name}').textContent"))


def test_the_way_from_the_dialog_to_the_model_in_use(page: Page, workshop: Workshop) -> None:
    page.wait("!document.getElementById('face-model').hidden")
    page.click("#adapt-open")
    page.wait("document.getElementById('adapt-dialog').open")
    page.value("document.getElementById('adapt-name').value = 'anna'")
    page.click("#adapt-begin")
    assert page.value("document.querySelector('#adapt-agreed:invalid') !== null"), "whose face it is must be said"
    page.click("#adapt-agreed")
    page.click("#adapt-begin")

    # the guided minute
    page.wait("document.getElementById('minute-text').dataset.step === 'straight'")
    assert "Look straight" in text(page, "minute-text") and text(page, "minute-left") == "4 s"
    assert page.value("document.getElementById('go').disabled")
    page.wait(LIGHT)
    HeldMinute.number, HeldMinute.shown = 1, frozenset({Need.LEFT})
    page.wait("document.querySelector('[data-need=LEFT]').dataset.kind === 'good'")
    assert page.value("document.querySelector('[data-need=RIGHT]').dataset.kind") == "quiet"
    page.call("Page.reload")
    page.wait("document.querySelector('[data-need=LEFT]').dataset.kind === 'good'")
    page.wait(LIGHT)
    HeldMinute.number, HeldMinute.shown = 2, frozenset()
    page.wait("document.getElementById('minute-text').dataset.step === 'read'")
    assert "whales sing" in text(page, "minute-text")
    page.value("document.getElementById('language').click()")
    assert "pflückt mein Vater" in text(page, "minute-text")
    page.value("document.getElementById('language').click()")
    assert page.value(NAMELESS) == []

    # the work, and a call meanwhile
    HeldMinute.number = 99
    workshop.let(progress("train", 0.37, 300.0))
    page.wait("document.getElementById('adapt-bar').value === 0.37")
    assert not page.value("document.getElementById('minute').open")
    assert text(page, "adapt-step").endswith("learning your face") and text(page, "adapt-left") == "about 5 min left"
    assert "a wide open mouth" in text(page, "adapt-missing")
    page.click("#go")
    page.wait("document.getElementById('status').textContent === 'live'")
    page.click("#adapt-stop")
    page.wait("document.getElementById('adapt-step').textContent.endsWith('writing the model')")
    page.click("#adapt-stop")
    page.wait("!document.getElementById('adapt-stopped').hidden")
    page.wait("document.querySelectorAll('#models li:nth-child(2) button').length === 2")
    page.click("#models li:nth-child(2) button")

    # what came out
    workshop.let(lambda: workshop.outcome("anna"))
    page.wait("document.getElementById('adapt-sheet').naturalWidth === 800")
    page.call("Page.reload")
    page.wait("document.getElementById('adapt-sheet').naturalWidth === 800")
    assert "“anna” is better" in text(page, "adapt-verdict")
    gains = text(page, "adapt-gains")
    assert "mouth32 % closer to you" in gains and "shape of the faceas before" in gains
    assert page.value(NAMELESS) == []
    page.call("Emulation.setDeviceMetricsOverride", width=900, height=900, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.click("#adapt-use")
    page.wait("document.querySelector('#models li:nth-child(2)').dataset.used === 'true'")
    page.wait("document.getElementById('status').textContent === 'live'")
    assert not film_folder("anna").exists()

    # back to the shipped one, and away with it
    page.click("#models li:first-child button")
    page.wait("document.querySelector('#models li:first-child').dataset.used === 'true'")
    page.wait("document.getElementById('status').textContent === 'live'")
    page.click("#models li:nth-child(2) button:last-child")
    page.wait("document.getElementById('delete-dialog').open")
    page.click("#delete-no")
    assert model_folder("anna").is_dir()
    page.click("#models li:nth-child(2) button:last-child")
    page.click("#delete-yes")
    page.wait("document.querySelectorAll('#models li').length === 1")
    assert not model_folder("anna").exists() and not page.errors
