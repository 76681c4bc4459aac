"""Numbers below pictures: they come through encoders, are never seen where there are none, and the page agrees."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette

from avatarify_plus.pictures.images import load_photo
from avatarify_plus.remote.stamp import BLACK, BLOCKS, MARK, NUMBERS, WHITE, read_stamp, stamp
from avatarify_plus.service.application import page_routes
from avatarify_plus.types import Image
from avatarify_plus.web.http_server import HttpServer
from chromium import CHROMIUM, Page, browser_page
from fakes import EXAMPLES, plain_picture

NUMBERS_TO_TRY = (0, 1, 2, 255, 0x0F0F, 0x5555, 0xAAAA, 40_000, NUMBERS - 1)
SIZES = ((160, 120), (320, 180), (480, 270), (640, 360), (640, 480), (960, 540), (1280, 720), (270, 480))
"""Width and height, in pixels."""


def photo(number: int, width: int = 768, height: int = 768) -> Image:
    """Return an example photo in a size, RGB."""
    image = load_photo(EXAMPLES / f"avatar_{number}.jpg")
    resized: Image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return resized


def compressed(image: Image, quality: int) -> Image:
    """Return a picture as JPEG keeps it."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    found = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert found is not None
    kept: Image = found[..., ::-1].astype(np.uint8, copy=False)
    return kept


def flip_block(stamped: Image, height: int, block: int) -> None:
    """Make a block of the strip below a height black if it is white, and the other way round."""
    width = stamped.shape[1]
    place = np.arange(width) * BLOCKS // width == block
    stamped[height:, place] = np.where(stamped[height:, place] == WHITE, BLACK, WHITE)


def test_a_number_and_its_picture_come_back_whatever_their_size() -> None:
    random = np.random.default_rng(0)
    for height in range(30, 1090, 14):
        for width in (2 * BLOCKS, 64, 97, 320, 641):
            image = plain_picture(int(random.integers(256)), height, width)
            number = int(random.integers(NUMBERS))
            found = read_stamp(stamp(image, number))
            assert (found.number, found.image.shape) == (number, image.shape), (width, height)
            assert np.array_equal(found.image, image)


def test_every_number_is_written_differently_and_counted_modulo() -> None:
    image = plain_picture(90, 60, 2 * BLOCKS)
    rows = {stamp(image, number)[-1].tobytes() for number in range(0, NUMBERS, 7)}
    assert len(rows) == len(range(0, NUMBERS, 7))
    assert read_stamp(stamp(image, NUMBERS + 5)).number == 5
    assert read_stamp(stamp(image, -1)).number == NUMBERS - 1


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_a_number_survives_shrinking_and_strong_compression(size: tuple[int, int], scale: float) -> None:
    image = photo(1, *size)
    for number in NUMBERS_TO_TRY:
        stamped = stamp(image, number)
        shrunk = cv2.resize(stamped, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        found = read_stamp(compressed(shrunk, 40))
        assert found.number == number
        assert found.image.shape[0] == pytest.approx(scale * size[1], abs=3)
        assert found.image.shape[1] == shrunk.shape[1]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_natural_pictures_bear_no_number_and_stay_whole(number: int) -> None:
    for width, height in SIZES:
        image = photo(number, width, height)
        found = read_stamp(image)
        assert found.number is None and found.image is image


def test_noise_and_plain_pictures_bear_no_number_and_stay_whole() -> None:
    random = np.random.default_rng(1)
    noise = [random.integers(0, 256, (60, 96, 3)).astype(np.uint8) for _ in range(300)]
    for image in (*noise, *(plain_picture(level) for level in (0, BLACK, 128, WHITE, 255))):
        found = read_stamp(image)
        assert found.number is None and found.image is image


def test_pictures_too_small_for_a_strip_stay_whole() -> None:
    for height, width in ((2, 640), (28, 640), (480, 2 * BLOCKS - 1), (1, 1)):
        image = plain_picture(WHITE, height, width)
        assert read_stamp(image).image is image


@pytest.mark.parametrize("block", range(len(MARK), BLOCKS))
def test_a_number_that_does_not_fit_its_check_sum_is_none_but_the_strip_is_cut_off(block: int) -> None:
    image = photo(2, 320, 240)
    stamped = stamp(image, 12_345)
    flip_block(stamped, 240, block)
    found = read_stamp(stamped)
    assert found.number is None
    assert np.array_equal(found.image, image)


@pytest.mark.parametrize("block", range(len(MARK)))
def test_without_its_mark_a_strip_is_part_of_the_picture(block: int) -> None:
    stamped = stamp(photo(2, 320, 240), 12_345)
    flip_block(stamped, 240, block)
    found = read_stamp(stamped)
    assert found.number is None and found.image is stamped


# --- the page's own hand ---

WRITE = """
(async () => {
  const { drawStamp, stripOf } = await import("/stamp.js");
  return CASES.map(([width, height, number]) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height + stripOf(height)];
    const context = canvas.getContext("2d");
    context.fillStyle = "#5a5a5a";
    context.fillRect(0, 0, width, height);
    drawStamp(context, width, height, number);
    const { data } = context.getImageData(0, height, width, stripOf(height));
    let text = "";
    for (let i = 0; i < data.length; i += 4) text += String.fromCharCode(data[i]);
    return btoa(text);
  });
})()
"""
"""The red levels of the strips that the page draws."""

READ = """
(async () => {
  const { readStamp } = await import("/stamp.js");
  const found = [];
  for (const data of CASES) {
    const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
    const { height, number } = readStamp(picture, picture.width, picture.height);
    found.push([height, number]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Return a browser's page that may import the scripts of this project's."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt install chromium")
    with HttpServer("127.0.0.1", 0, 1000) as server, browser_page() as page:
        server.start(Starlette(routes=page_routes()))
        page.open(f"http://127.0.0.1:{server.port}/words.js")  # a page without scripts of its own
        page.wait("location.pathname === '/words.js' && document.readyState === 'complete'")
        yield page


def test_the_page_writes_the_same_blocks(page: Page) -> None:
    cases = [(width, height, number) for width, height in SIZES for number in NUMBERS_TO_TRY]
    strips = page.value(WRITE.replace("CASES", json.dumps(cases)))
    assert len(strips) == len(cases)
    for (width, height, number), strip in zip(cases, strips, strict=True):
        drawn = np.frombuffer(base64.b64decode(strip), np.uint8).reshape(-1, width)
        expected = stamp(plain_picture(90, height, width), number)[height, :, 0]
        assert len(drawn) >= 2
        assert np.array_equal(drawn, np.broadcast_to(expected, drawn.shape)), (width, height, number)
        whole = np.concatenate([plain_picture(90, height, width), np.repeat(drawn[..., None], 3, -1)])
        found = read_stamp(whole)
        assert (found.number, len(found.image)) == (number, height)


def test_the_page_reads_what_is_written_here(page: Page) -> None:
    stamped = [
        (height, number, stamp(plain_picture(90, height, width), number))
        for width, height in SIZES
        for number in NUMBERS_TO_TRY[::3]
    ]
    wrong = stamp(plain_picture(90, 240, 320), 12_345)
    flip_block(wrong, 240, BLOCKS - 1)
    natural = photo(3, 320, 240)
    pictures = [*(image for _, _, image in stamped), wrong, natural]
    data = [base64.b64encode(bytes(cv2.imencode(".png", image[..., ::-1])[1])).decode() for image in pictures]
    found = page.value(READ.replace("CASES", json.dumps(data)))
    assert found == [*([height, number] for height, number, _ in stamped), [240, None], [240, None]]
    assert not page.errors
