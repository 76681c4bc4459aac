"""A photo in its own size: warped as the network would, laid over what is painted, with mouth and eyes over that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from avatarify_plus.bench import bench
from avatarify_plus.bundle import Bundle, open_bundle, write_manifest
from avatarify_plus.engines import Engine, Source, open_engine, photo_engine
from avatarify_plus.engines.engine import Layers, PartSquares, Runtime
from avatarify_plus.engines.keypoint_tensors import contour_points_of, resting_keypoints
from avatarify_plus.engines.photo_engine import PhotoEngine, difference, iris_shift
from avatarify_plus.errors import EngineError
from avatarify_plus.face.contours import LEFT_EYE_PART, RIGHT_EYE_PART, draw_contours, part_squares
from avatarify_plus.motion.keypoints import first_keypoints
from avatarify_plus.network.config import network_config
from avatarify_plus.network.dense_motion import Contours
from avatarify_plus.network.graphs import to_model_image
from avatarify_plus.network.tensor_names import quantized
from avatarify_plus.network.weights import read_model
from avatarify_plus.pictures.photo_layers import beyond_square, lay_over, warp_photo
from avatarify_plus.pictures.photo_region import square_of, surround
from avatarify_plus.types import Image, Keypoints, Mask, PhotoRegion
from fakes import EXAMPLES, example_driver, write_video
from scenes import scene, with_mean_face

CONFIG = network_config(
    "ours-skip", "tiny", keypoints="mesh", keypoint_count=20, photo_reach=1.5, contour_width=4, part_width=4
)
RED, BLUE = (255, 0, 0), (0, 0, 255)


class FakeRuntime:
    """Shows the whole photo, moved by `shift` of the square's half; paints parts as `painted` says."""

    name, device, precision, config = "fake", "thin air", "fp32", CONFIG

    def __init__(self, kept: int = 255, shift: tuple[float, float] = (0, 0)) -> None:
        size = CONFIG.motion_size
        line = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
        grid = np.stack(np.meshgrid(line, line), -1) + np.array(shift, np.float32)
        full = CONFIG.image_size
        self.layers = Layers(np.zeros((full, full, 3), np.uint8), np.full((full, full), kept, np.uint8), grid)
        self.asked: list[tuple[str, PartSquares]] = []
        self.share = 0
        self.colours: Image | None = None

    def encode_source(self, image: Image, keypoints: Keypoints, photo: PhotoRegion | None = None) -> Source:
        return Source(keypoints, {})

    def animate(self, source: Source, keypoints: Keypoints) -> Layers:
        return self.layers

    def paint(self, part: str, squares: PartSquares) -> Any:
        self.asked.append((part, squares))
        colours = squares.given if self.colours is None else np.broadcast_to(self.colours, squares.given.shape)
        return np.concatenate([colours, np.full((*colours.shape[:3], 1), self.share, np.uint8)], -1)


def engine_of(runtime: FakeRuntime) -> PhotoEngine:
    return PhotoEngine(runtime)  # type: ignore[arg-type]


def face(shift: tuple[float, float] = (0.0, 0.0)) -> Keypoints:
    """Return resting keypoints with the contour points of a mean face behind them."""
    keypoints = with_mean_face(first_keypoints(resting_keypoints(CONFIG), CONFIG.keypoint_count))
    return Keypoints(keypoints.value + np.array(shift, np.float32), keypoints.jacobian)


def smooth(size: int) -> Image:
    """Return a picture in which nothing is lost by sampling it twice."""
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([np.sin(4 * x + y), np.cos(3 * y - x), np.sin(2 * x - 3 * y)], -1)
    return (128 + 100 * waves).astype(np.uint8)


def small(photo: Image, size: int = CONFIG.image_size) -> Image:
    return cv2.resize(square_of(photo, 1.5), (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)


@pytest.fixture(scope="module", params=["torch", "onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, photo_bundle: Bundle) -> Iterator[Engine]:
    with open_engine(photo_bundle, request.param, threads=1, precision="fp32") as opened:
        yield opened


def runtime_of(engine: Engine) -> Runtime:
    assert isinstance(engine, PhotoEngine)
    return engine.runtime


def network_picture(bundle: Bundle, shown: Any) -> Any:
    """Return the network's own (S, S, 3) picture of a scene, 0 to 255, without painted parts, and its deformation."""
    config = bundle.config
    pictures = [
        to_model_image(torch.from_numpy(surround(shown.source, size))[None]) for size in (1, config.photo_reach)
    ]
    poses = []
    for keypoints in (shown.source_keypoints, shown.driving_keypoints):
        own = first_keypoints(keypoints, config.keypoint_count)
        poses.append(Keypoints(*(torch.from_numpy(part)[None] for part in own)))
    drawn = [
        torch.from_numpy(draw_contours(contour_points_of(keypoints, config), config.contour_size))[None].float() / 255
        for keypoints in (shown.source_keypoints, shown.driving_keypoints)
    ]
    with torch.inference_mode():
        model = read_model(bundle.weights, config).eval()
        prediction = model(pictures[0], *poses, contours=Contours(*drawn), photo=pictures[1])
    assert prediction.image is not None
    return prediction.image[0].permute(1, 2, 0).numpy() * 255, prediction.motion.deformation[0].numpy()


def test_at_the_networks_size_the_picture_is_the_networks_own(photo_bundle: Bundle, engine: Engine) -> None:
    shown = scene(photo_bundle)
    expected, deformation = network_picture(photo_bundle, shown)
    source = engine.encode_source(shown.source, shown.source_keypoints)
    layers = runtime_of(engine).animate(source, shown.driving_keypoints)
    np.testing.assert_allclose(layers.deformation, deformation, atol=2e-5)
    warped = warp_photo(surround(shown.source, 1.5), layers.deformation, 256)
    settled = beyond_square(layers.kept, layers.deformation, goes_on=False)
    found = lay_over(warped, layers.painted, settled)
    difference = np.abs(found - expected)
    assert difference.mean() < 1 and expected.std() > 5
    assert engine.animate(source, shown.driving_keypoints).shape == found.shape


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_coordinates_stay_exact_in_lower_precision(photo_bundle: Bundle, precision: Any) -> None:
    """A pixel of 512 is 4e-3, which is what bfloat16 coordinates would be off by."""
    shown = scene(photo_bundle)
    _, expected = network_picture(photo_bundle, shown)
    with open_engine(photo_bundle, "openvino", 1, precision) as engine:
        source = engine.encode_source(shown.source, shown.source_keypoints)
        found = runtime_of(engine).animate(source, shown.driving_keypoints).deformation
    assert found.dtype == np.float32
    assert len(np.unique(found)) > 0.9 * found.size, "as many values as float32 has, not bfloat16's few"
    assert np.abs(found - expected).mean() < 5e-4  # the masks do come of bfloat16


@pytest.fixture
def always_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are painted however alike they are to the photo's."""
    monkeypatch.setattr(
        photo_engine, "difference", lambda part, contours, reference: np.ones(len(contours), np.float32)
    )


def test_a_part_is_painted_as_far_as_it_differs_from_the_photos() -> None:
    opened, closed = np.zeros((2, 2, 64, 64), np.uint8), np.zeros((2, 2, 64, 64), np.uint8)
    opened[:, :, 28:36, 20:44] = 255
    closed[:, :, 31:32, 20:44] = 255
    assert difference("eye", opened, opened).tolist() == [0, 0]
    assert difference("eye", closed, opened).tolist() == [1, 1]
    mixed = np.stack([opened[0], closed[0]])
    assert difference("eye", mixed, opened).tolist() == [0, 1]
    assert 0 < difference("mouth", opened[:1], closed[:1])[0] <= 1
    runtime = FakeRuntime()
    engine = engine_of(runtime)
    source = engine.encode_source(smooth(256), face())
    engine.animate(source, face())
    assert not runtime.asked, "a still face is the photo's own"


def test_without_motion_the_photo_is_shown_as_it_is() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (768, 768, 3), np.uint8)
    engine = engine_of(FakeRuntime())
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    picture = engine.animate(source, face())
    assert picture.shape == (512, 512, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, square_of(photo, 1.5))


def test_what_moves_in_comes_from_beyond_the_square() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (768, 768, 3), np.uint8)
    engine = engine_of(FakeRuntime(shift=(0.25, -0.125)))  # 64 and 32 pixels of the square's 256
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    picture = engine.animate(source, face())
    np.testing.assert_array_equal(picture, photo[128 - 32 : 640 - 32, 128 + 64 : 640 + 64])


def test_what_is_not_kept_is_painted() -> None:
    runtime = FakeRuntime(kept=51)
    engine = engine_of(runtime)
    photo = np.full((384, 384, 3), 200, np.uint8)
    picture = engine.animate(engine.encode_source(small(photo), face(), PhotoRegion(photo)), face())
    np.testing.assert_allclose(picture[8:-8, 8:-8], 40, atol=1)
    assert picture[0].min() > 160  # at its edge the square gives way to the photo around it


def test_a_photo_that_is_no_square_is_refused() -> None:
    engine = engine_of(FakeRuntime())
    with pytest.raises(EngineError, match=r"photos \(W, W, 3\) uint8, found \(384, 300, 3\)"):
        engine.encode_source(smooth(256), face(), PhotoRegion(smooth(384)[:, :300]))


@pytest.mark.usefixtures("always_painted")
def test_parts_that_are_given_back_change_nothing() -> None:
    photo = smooth(768)
    runtime = FakeRuntime()
    engine = engine_of(runtime)
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    plain = engine.animate(source, face((0.1, 0.05)))
    runtime.share = 255
    given_back = engine.animate(source, face((0.1, 0.05)))
    assert np.abs(given_back.astype(int) - plain).max() <= 2
    assert [part for part, _ in runtime.asked[-2:]] == ["mouth", "eye"]


@pytest.mark.usefixtures("always_painted")
def test_parts_are_painted_inside_their_squares_only() -> None:
    photo = smooth(768)
    runtime = FakeRuntime()
    engine = engine_of(runtime)
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    plain = engine.animate(source, face((0.3, 0.2)))
    runtime.share, runtime.colours = 255, np.array(RED, np.uint8)
    painted = engine.animate(source, face((0.3, 0.2)))
    line = (2 * np.arange(512, dtype=np.float32) + 1) / 512 - 1
    places = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    squares = part_squares(contour_points_of(face((0.3, 0.2)), CONFIG)).values()
    reach = np.min([np.abs(square.inside(places)).max(-1) for square in squares], axis=0).reshape(512, 512)
    np.testing.assert_array_equal(painted[reach > 1.06], plain[reach > 1.06])
    np.testing.assert_array_equal(painted[reach < 0.94], np.broadcast_to(RED, painted[reach < 0.94].shape))


def test_parts_that_reach_out_of_the_picture_are_cut_off() -> None:
    photo = smooth(384)
    runtime = FakeRuntime()
    runtime.share, runtime.colours = 255, np.array(RED, np.uint8)
    engine = engine_of(runtime)
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    for shift in ((0.9, 0.0), (-5.0, 0.0), (0.0, 1.0), (40.0, 40.0)):
        assert engine.animate(source, face(shift)).shape == (256, 256, 3)


@pytest.mark.usefixtures("always_painted")
def test_a_left_eye_is_shown_to_its_painter_mirrored() -> None:
    photo = smooth(768)
    runtime = FakeRuntime()
    runtime.share = 255
    halves = np.empty((64, 64, 3), np.uint8)
    halves[:, :32], halves[:, 32:] = RED, BLUE
    engine = engine_of(runtime)
    source = engine.encode_source(small(photo), face(), PhotoRegion(photo))
    engine.animate(source, face())
    _, squares = runtime.asked[-1]
    assert squares.given.shape == (2, 64, 64, 3) and squares.contours.shape == (2, 2, 64, 64)
    difference = np.abs(squares.contours[0].astype(int) - squares.contours[1])
    assert difference.mean() < 10, "both look like right eyes"
    np.testing.assert_array_equal(squares.reference_contours, squares.contours)
    assert np.abs(squares.reference.astype(int) - squares.given).max() <= 1, "nothing moves"

    original = runtime.paint

    def paint(part: str, squares: PartSquares) -> Any:
        runtime.colours = halves if part == "eye" else None
        return original(part, squares)

    runtime.paint = paint  # type: ignore[method-assign]
    picture = engine.animate(source, face())
    eyes = part_squares(contour_points_of(face(), CONFIG))
    for name, outer in ((RIGHT_EYE_PART, -1), (LEFT_EYE_PART, 1)):  # the right eye is on the picture's left
        middle = eyes[name].matrix[:, 2]
        half = np.abs(eyes[name].matrix[0, 0]) / 2
        for side, colour in ((outer, RED), (-outer, BLUE)):
            x, y = np.rint((middle + (side * half, 0) + 1) * 256 - 0.5).astype(int)
            np.testing.assert_array_equal(picture[y, x], colour)


def test_contour_points_are_asked_for(photo_bundle: Bundle, engine: Engine) -> None:
    shown = scene(photo_bundle)
    own = first_keypoints(shown.source_keypoints, photo_bundle.config.keypoint_count)
    with pytest.raises(EngineError, match=r"24 keypoints and then 117 contour points .*, found 24 in all"):
        engine.encode_source(shown.source, own)


@pytest.mark.usefixtures("always_painted")
def test_contours_and_their_movement_show(photo_bundle: Bundle, engine: Engine) -> None:
    shown = scene(photo_bundle)
    source = engine.encode_source(shown.source, shown.source_keypoints)
    picture = engine.animate(source, shown.driving_keypoints)
    value = shown.driving_keypoints.value.copy()
    value[photo_bundle.config.keypoint_count :] += 0.2
    assert np.abs(engine.animate(source, shown.driving_keypoints._replace(value=value)).astype(int) - picture).max() > 2
    assert np.array_equal(engine.animate(source, shown.driving_keypoints), picture)


def test_int8_twins_of_painters_are_taken_where_there_are_any(photo_bundle: Bundle, tmp_path: Path) -> None:
    """A twin that paints nothing but black, as nobody would quantize it, shows whether it was taken."""
    import onnx

    folder = tmp_path / "twins"
    folder.mkdir()
    for name in photo_bundle.manifest.files:
        (folder / name).write_bytes((photo_bundle.folder / name).read_bytes())
    (folder / f"{quantized('animate')}.onnx").write_bytes(photo_bundle.graph("animate").read_bytes())
    twin = onnx.load(photo_bundle.graph("paint_mouth"))
    for weight in twin.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and weight.name.startswith("model.final"):
            weight.CopyFrom(onnx.numpy_helper.from_array(-100 * np.ones(tuple(weight.dims), np.float32), weight.name))
    onnx.save(twin, folder / f"{quantized('paint_mouth')}.onnx")
    write_manifest(folder, photo_bundle.manifest)
    shown = scene(photo_bundle)
    for name in ("openvino", "onnxruntime"):
        pictures = {}
        for precision in ("fp32", "int8"):
            with open_engine(open_bundle(folder), name, 1, precision) as engine:  # type: ignore[arg-type]
                runtime = runtime_of(engine)
                source = engine.encode_source(shown.source, shown.source_keypoints)
                assert engine.precision == precision
                engine.animate(source, shown.driving_keypoints)
                squares = PartSquares(
                    np.full((1, 128, 128, 3), 128, np.uint8),
                    np.full((1, 2, 128, 128), 128, np.uint8),
                    np.full((1, 128, 128, 3), 128, np.uint8),
                    np.full((1, 2, 128, 128), 128, np.uint8),
                )
                pictures[precision] = runtime.paint("mouth", squares)
        assert pictures["fp32"][..., :3].max() > 0 and pictures["int8"][..., :3].max() == 0


def test_the_bench_runs_and_records_in_the_photos_size(
    photo_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_video(tmp_path / "clip.mp4", example_driver(4))
    options = ["--compare", f"openvino@{photo_bundle.folder}", f"onnxruntime:fp32@{photo_bundle.folder}"]
    given = [*options, "--clip", str(clip), "--seconds", "0.2", "--warm-up", "1", "--output", str(tmp_path)]
    assert bench.main([*given, "--avatar", str(EXAMPLES / "avatar_2.jpg")]) == 0
    assert "animate" in capsys.readouterr().out
    recorded = [path for path in tmp_path.glob("*.mp4") if path != clip]
    assert len(recorded) == 2
    assert cv2.VideoCapture(str(recorded[0])).get(cv2.CAP_PROP_FRAME_WIDTH) == 512


def test_an_eye_that_looks_elsewhere_than_the_photos_is_painted() -> None:
    def eye(iris_px: int) -> Mask:
        masks = np.zeros((1, 2, 64, 64), np.uint8)
        masks[0, 0, 24:40, 12:52] = 255
        masks[0, 1, 26:38, iris_px - 6 : iris_px + 6] = 255
        return masks

    ahead, shut = eye(32), np.zeros((1, 2, 64, 64), np.uint8)
    assert iris_shift(eye(40), ahead)[0] == pytest.approx(8 / 40)
    assert difference("eye", eye(33), ahead).tolist() == [0]
    assert difference("eye", eye(40), ahead).tolist() == [1]
    assert 0 < difference("eye", eye(37), ahead)[0] < 1
    assert iris_shift(shut, ahead).tolist() == [0]
