"""The studio as people see it: the real app, the shipped model, the page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from avatarify_plus.adapt import adaptation, guided_minute
from avatarify_plus.adapt.expressions import Need
from avatarify_plus.adapt.verdict import MEASURES
from chromium import CHROMIUM, Page, browser_page
from fakes import EXAMPLES
from pages import CHANGE, NAMELESS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "avatarify_plus" / "web" / "page"


class Opened(NamedTuple):
    """The studio's process, its page's address and the page."""

    process: subprocess.Popen[str]
    url: str
    page: Page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt install chromium")
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_VIDEOS_DIR": str(home)}
    command = [sys.executable, "run.py", "studio", "--no-browser", "--size", "640x360"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = next(match[0] for line in process.stderr if (match := re.search(r"http://\S+", line)))
    with browser_page() as page:
        yield Opened(process, url, page)
    process.kill()
    process.wait(30)
    process.stderr.close()


def test_the_page_opens_in_a_few_clicks_the_avatar_moves(opened: Opened) -> None:
    page = opened.page
    page.open(opened.url)
    page.wait("document.querySelectorAll('#photos li').length >= 1")
    assert page.wait("document.getElementById('consent').open")
    page.click("#agree")
    page.wait("!document.getElementById('consent').open")
    page.wait("document.getElementById('status').textContent === 'ready' && !document.getElementById('go').disabled")
    assert "#" not in page.value("location.href"), "the token does not stay in the address"
    page.click("#go")
    page.wait("Number(document.body.dataset.shown) > 5")
    assert page.value(CHANGE) > 0.3
    page.wait("document.getElementById('fps').textContent !== '–'")
    assert page.value("document.getElementById('status').textContent") == "live"
    assert not page.errors


def test_a_dropped_photo_becomes_the_avatar(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    count = page.value("document.querySelectorAll('#photos li').length")
    shutil.copy(EXAMPLES / "avatar_3.jpg", tmp_path / "grün #1.jpg")
    page.drop_file("#drop", tmp_path / "grün #1.jpg")
    page.wait(f"document.querySelectorAll('#photos li').length === {count + 1}")
    page.wait("document.querySelector('#photos li:last-child button').getAttribute('aria-pressed') === 'true'")
    assert "grün" in page.value("document.querySelector('#photos li:last-child button').ariaLabel")
    (tmp_path / "no.jpg").write_bytes(b"this is no photo")
    page.choose_file("#file", tmp_path / "no.jpg")
    assert "no.jpg" in page.wait("document.getElementById('photo-error').textContent")
    assert page.value("document.querySelectorAll('#photos li').length") == count + 1


def test_keys_and_buttons_do_the_same(opened: Opened) -> None:
    page = opened.page
    page.press("p")
    page.wait("document.getElementById('panic').ariaPressed === 'true'")
    time.sleep(0.5)
    assert page.value(CHANGE) == 0  # a still card
    page.click("#panic")
    page.wait("document.getElementById('panic').ariaPressed === 'false'")
    page.press("m")
    page.wait("document.querySelector('input[name=mouth]').value > 1.05")
    page.value(
        "(() => { const i = document.querySelector('input[name=gaze]'); i.value = 0.5;"
        "i.dispatchEvent(new Event('input')); })()"
    )
    page.wait("document.querySelector('input[name=gaze]').nextElementSibling.textContent === '50 %'")
    page.press("?")
    assert page.value("document.querySelectorAll('#key-list kbd').length") > 20


def test_it_speaks_german_is_dark_and_every_control_has_a_name(opened: Opened) -> None:
    page = opened.page
    assert page.value(NAMELESS) == []
    page.click("#language")
    page.wait("document.getElementById('go').textContent === 'Anhalten'")
    assert page.value("document.documentElement.lang") == "de"
    assert page.value(NAMELESS) == []
    before = page.value("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    page.wait(f"getComputedStyle(document.body).backgroundColor !== '{before}'")
    width = page.value("innerWidth")
    page.call("Emulation.setDeviceMetricsOverride", width=900, height=900, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    page.call("Emulation.clearDeviceMetricsOverride")
    page.wait(f"innerWidth === {width}")  # or the click would miss
    page.click("#language")
    page.wait("document.documentElement.lang === 'en'")


def test_a_page_without_the_token_is_told_so(opened: Opened) -> None:
    with browser_page() as stranger:
        stranger.open(opened.url.partition("#")[0] + "#wrong")
        stranger.wait("document.getElementById('trouble').textContent.includes('without its key')")
        assert stranger.value("document.querySelectorAll('#photos li').length") == 0
        assert stranger.value("document.getElementById('go').disabled")


def test_a_page_that_was_left_finds_everything_again(opened: Opened) -> None:
    page = opened.page
    page.call("Page.reload")
    page.wait("document.getElementById('status').textContent === 'live'")
    page.wait("Number(document.body.dataset.shown) > 5")
    assert page.value("document.querySelector('input[name=gaze]').nextElementSibling.textContent") == "50 %"


def test_ctrl_c_ends_it_and_the_page_says_so(opened: Opened) -> None:
    opened.process.send_signal(signal.SIGINT)
    assert opened.process.wait(30) == 0
    assert opened.page.wait("document.getElementById('trouble').textContent.includes('has ended')")


def _luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_texts_have_enough_contrast(block: int) -> None:
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", (PAGE / "studio.css").read_text("utf-8"))
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[block]))
    pairs = [(text, ground) for text in ("ink", "quiet", "good", "warn", "bad") for ground in ("card", "ground")]
    for text, ground in [*pairs, ("on-accent", "accent"), ("ink", "soft")]:
        bright, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_every_word_is_there_in_both_languages() -> None:
    source = (PAGE / "words.js").read_text("utf-8")
    english, german = (
        set(re.findall(r"(\w+): \"", match))
        for match in re.findall(r"const (?:english|german) = \{(.*?)\n\};", source, re.S)
    )
    assert english == german and len(english) > 40
    scripts = "".join((PAGE / name).read_text("utf-8") for name in ("studio.js", "adapt.js"))
    used = set(re.findall(r"word\(\"(\w+)\"", scripts))
    used |= set(re.findall(r'data-text="(\w+)"', (PAGE / "index.html").read_text("utf-8")))
    assert used <= english


def test_the_guided_minute_and_the_adaptation_have_words_for_all_they_say() -> None:
    words = set(re.findall(r"(\w+): \"", (PAGE / "words.js").read_text("utf-8")))
    needed = {f"step_{step.id}" for step in guided_minute.STEPS} | {"step_more"}
    needed |= {f"{kind}_{need.name}" for kind in ("need", "more") for need in Need}
    needed |= {f"adapt_{step.name}" for step in adaptation.STEPS}
    needed |= {f"gain_{measure.name.replace(' ', '_')}" for measure in MEASURES}
    assert needed <= words
    assert all(sentence in (PAGE / "words.js").read_text("utf-8") for sentence in guided_minute.SENTENCES)
