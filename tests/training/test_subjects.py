"""Data sets of faces, bodies and cartoon animals, as published with the First Order Motion Model, train and score."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import training.data.cache
from avatarify_plus.bundle import Bundle
from avatarify_plus.errors import DataError
from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.network.checkpoint import read_checkpoint
from avatarify_plus.types import FloatArray, Image
from fakes import example_driver
from synthetic_cache import write_cache
from training import evaluate, train
from training.data.cache import build_cache, open_cache
from training.data.datasets import Subject
from training.data.pairs import PairOptions, PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.evaluation.body_landmarks import BODY_LANDMARKS, BodyLandmarks, seen_landmarks
from training.evaluation.body_scorer import BodyScorer
from training.evaluation.metrics import PictureScorer
from training.evaluation.trials import self_reenactments
from training.loop.loader import BatchLoader, BatchNeeds
from training.loop.ranks import Ranks
from training.loop.schedule import Stage
from training.loop.validation import Validation

SIDE = 96


def cartoon(count: int, seed: int) -> list[Image]:
    """A coloured creature that swings its limbs; further from frame to frame."""
    colours = np.random.default_rng(seed).integers(60, 200, (3, 3)).tolist()
    frames = []
    for number in range(count):
        picture = np.full((SIDE, SIDE, 3), 240, np.uint8)
        for limb, side in enumerate((-1, 1)):
            angle = np.pi / 2 + side * (0.3 + 0.2 * number)
            hand = (round(48 + 34 * np.cos(angle)), round(44 + 34 * np.sin(angle)))
            cv2.line(picture, (48, 44), hand, colours[limb], 7)
        cv2.circle(picture, (48, 28), 13, colours[2], -1)
        frames.append(picture)
    return frames


def write_video(path: Path, frames: list[Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"crf": "10"})
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        container.mux(stream.encode(None))


def write_pictures(folder: Path, frames: list[Image]) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:07d}.png"), frame[..., ::-1])


def write_gif(path: Path, frames: list[Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = (PIL.Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=40)


def make_voxceleb(folder: Path) -> None:
    frames = example_driver(15, 128)
    write_video(folder / "train" / "id10001#7w0IBEWc9Qw#000993#001143.mp4", frames[:5])
    write_video(folder / "train" / "id10002#zz_-Q#000001#000128.mp4", frames[5:10])
    write_video(folder / "test" / "id10280#NXjT3732Ekg#001093#001192.mp4", frames[10:])


def make_taichi_videos(folder: Path) -> None:
    write_video(folder / "train" / "-_Vid_1#000261#000389.mp4", cartoon(5, 0))
    write_video(folder / "train" / "0_x9#000000#000128.mp4", cartoon(4, 1))
    write_video(folder / "test" / "oNkBx4CZuEg#000000#001024.mp4", cartoon(5, 2))


def make_taichi_pictures(folder: Path) -> None:
    write_pictures(folder / "train" / "-_Vid_1#000261#000389.mp4", cartoon(5, 0))
    write_pictures(folder / "train" / "0_x9#000000#000128.mp4", cartoon(4, 1))
    write_pictures(folder / "test" / "oNkBx4CZuEg#000000#001024.mp4", cartoon(5, 2))


def make_mgif(folder: Path) -> None:
    write_gif(folder / "train" / "00000.gif", cartoon(5, 0))
    write_gif(folder / "train" / "00001.gif", cartoon(4, 1))
    write_gif(folder / "test" / "00900.gif", cartoon(5, 2))


@pytest.fixture(scope="module")
def mgif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cartoons, laid out as MGif."""
    folder = tmp_path_factory.mktemp("moving-gif")
    make_mgif(folder)
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--data", str(data), "--out", str(out), "--size", "tiny", "--stages", "64x2:1", "--steps", "2"),
        *("--set", "image_size=64", "motion_size=16", "--device", "cpu", "--precision", "fp32"),
        *("--perceptual", "efficientnet-lite0", "--weight", "perceptual=0", *more),
    ]


@pytest.mark.parametrize(
    "make, test_clip, options",
    [
        (make_voxceleb, "id10280#NXjT3732Ekg#001093#001192", ["identity=0", "--keypoints", "learned"]),
        (make_taichi_videos, "oNkBx4CZuEg#000000#001024", ["--subject", "body"]),
        (make_taichi_pictures, "oNkBx4CZuEg#000000#001024", ["--subject", "body", "--preset", "x2face"]),
        (make_mgif, "00900", ["adversarial=1", "--subject", "any", "--preset", "ours-skip"]),
    ],
)
def test_a_published_layout_trains_and_its_test_part_stays_out(
    make: Callable[[Path], None], test_clip: str, options: list[str], tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    make(data)
    assert train.main(command(data, out, *options, "--val", str(data))) == 0
    saved = read_checkpoint(out / "checkpoint.pt")
    assert saved.step == 2 and saved.config.keypoint_count == (20 if make is make_voxceleb else 10)
    assert saved.training["data"]["clips"] == 2 and saved.training["data"]["frames"] >= 9
    with open(out / "metrics.csv") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    assert rows and all(np.isfinite(list(row.values())).all() for row in rows)
    assert "val L1" in rows[-1] and list(out.glob("sheet-*.png"))
    (trial,) = self_reenactments(data)
    assert f"test/{test_clip}" in trial.name and trial.driving.parent == data / "test"


def test_no_mesh_is_sought_without_a_face(mgif: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(training.data.cache, "FaceMesh")
    cache = build_cache(mgif, tmp_path, 64, 1, subject="any")
    assert [clip.count for clip in cache.clips] == [5, 4] and np.isnan(cache.landmarks[:]).all()


def test_a_cache_without_meshes_does_not_pass_for_one_of_faces(mgif: Path, tmp_path: Path) -> None:
    without = build_cache(mgif, tmp_path, 64, 1, subject="body")
    index = next(tmp_path.rglob("index.json"))
    written = index.stat().st_mtime_ns
    assert len(build_cache(mgif, tmp_path, 64, 1, subject="any").clips) == len(without.clips)
    assert index.stat().st_mtime_ns == written, "bodies and the rest are decoded alike"
    build_cache(mgif, tmp_path, 64, 1)
    assert index.stat().st_mtime_ns > written, "faces are looked for after all"


@pytest.mark.parametrize("has_meshes", [False, True])
def test_pairs_take_every_frame_and_no_mesh(has_meshes: bool, tmp_path: Path) -> None:
    cache = open_cache(write_cache(tmp_path, {"a_1": 6, "b_1": 3, "b_2": 1}))
    if not has_meshes:
        cache = training.data.cache.Cache(cache.clips, cache.frames, np.full_like(cache.landmarks[:], np.nan))
    pool, layout, cpu = Pool([cache], "any"), load_mesh_layout("face-20"), torch.device("cpu")
    sampler = PairSampler(pool, layout, PairOptions(hard_share=1), seed=0)
    assert sampler.summary["frames"] == 9 and sampler.summary["hard_share"] == 0
    rows = sampler.choose(0, 400).rows
    assert set(np.unique(rows)) == set(range(10))
    renderer = Renderer(layout, mesh_mirror("face-20"), cpu)
    with BatchLoader(sampler, pool, renderer, Ranks(0, 1, cpu), False, BatchNeeds(flow_cells=16)) as loader:
        batch = loader.batch(0, Stage(64, 64, 6, 1.0))
    assert batch.driving_mesh is None and batch.source_keypoints is None and batch.driving_keypoints is None
    assert batch.source.shape == (6, 3, 64, 64) and bool(torch.isfinite(batch.driving).all())
    assert batch.flow is not None and bool(torch.isfinite(batch.flow.deformation).all())


def test_validation_shows_the_picture_that_differs_most(mgif: Path, tmp_path: Path) -> None:
    cache = build_cache(mgif, tmp_path, 64, 1, "test", "any")
    validation = Validation(cache, load_mesh_layout("face-20"), 1, "any")
    ((source, driving, *_),) = validation._pairs
    assert (source == cache.frames[0]).all() and (driving == cache.frames[4]).all()
    still = training.data.cache.Cache([training.data.cache.Clip("a", "a", 0, 1)], cache.frames[:1], cache.landmarks[:1])
    with pytest.raises(DataError, match="has two pictures"):
        Validation(still, load_mesh_layout("face-20"), 1, "any")


@pytest.mark.parametrize(
    "options, named",
    [
        (["--keypoints", "both"], "--keypoints both"),
        (["--set", "keypoints=mesh"], "--keypoints mesh"),
        (["--mesh-warmup", "5"], "--mesh-warmup"),
        (["--weight", "identity=1"], "--weight identity"),
        (["--weight", "expression_gain=1"], "--weight expression_gain"),
    ],
)
def test_what_needs_a_mesh_is_refused_before_anything_is_decoded(
    options: list[str], named: str, mgif: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        train.main(command(mgif, out, "--subject", "any", *options))
    (printed,) = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2 and printed.startswith("avatarify: error: --subject any")
    assert named in printed and not out.exists()


def body(**moved: tuple[float, float]) -> FloatArray:
    """A body of four landmarks; those given as p0 ... p3 elsewhere."""
    places = np.array([[0.2, 0.2], [0.4, 0.4], [0.6, 0.6], [0.8, 0.8]], np.float32)
    for name, place in moved.items():
        places[int(name[1])] = place
    return places


GONE = (float("nan"), float("nan"))


@pytest.mark.parametrize(
    "predicted, true, akd_px, mkr",
    [
        (body(), body(), 0, 0),
        (body(p0=(0.2 + 3 / 256, 0.2 + 4 / 256)), body(), 5 / 4, 0),
        (body(p0=GONE), body(), 0, 1 / 4),
        (body(), body(p0=GONE, p1=GONE), 0, 0),
        (body(p1=GONE), body(p0=GONE), 0, 1 / 3),
        (body(p0=GONE, p1=GONE, p2=GONE, p3=GONE), body(), None, 1),
        (body(), body(p0=GONE, p1=GONE, p2=GONE, p3=GONE), None, None),
    ],
)
def test_bodies_are_compared_by_landmarks_that_both_show(
    predicted: FloatArray, true: FloatArray, akd_px: float | None, mkr: float | None
) -> None:
    image, scorer = np.zeros((8, 8, 3), np.uint8), BodyScorer()
    scores = scorer.add(image, image, predicted, true)
    nan = float("nan")
    wanted = [nan if value is None else value for value in (akd_px, mkr)]
    assert scores[2:4] == pytest.approx(wanted, abs=1e-4, nan_ok=True) and np.isnan(scores.aed)
    assert len(scorer.tables()) == 1


def test_of_anything_pictures_alone_are_compared() -> None:
    scorer: PictureScorer[None] = PictureScorer()
    truth = np.full((8, 8, 3), 100, np.uint8)
    scorer.add(truth + np.uint8(51), truth, None, None)
    scorer.add(truth, truth, None, None)
    scores = scorer.scores()
    assert scores.l1 == pytest.approx(0.1) and scores.psnr_db == pytest.approx(-10 * np.log10(0.02))
    assert np.isnan(scores[2:]).all() and scorer.tables() == (pytest.approx(scores, nan_ok=True),)


def test_a_landmark_is_seen_when_it_is_likely_and_in_the_picture() -> None:
    points = np.array([[0.5, 0.5, 0.9], [0.5, 0.5, 0.1], [0.5, 1.2, 0.9], [-0.1, 0.5, 0.9]], np.float32)
    assert np.isnan(seen_landmarks(points)).all(1).tolist() == [False, True, True, True]


def test_landmarks_follow_a_person() -> None:
    picture = example_driver(1, 256)[0]
    moved = np.roll(picture, 12, axis=1)
    moved[:, :12] = picture[:, :1]
    with BodyLandmarks() as finder:
        here, there, nobody = (finder.find(image) for image in (picture, moved, np.zeros_like(picture)))
        again = finder.find(picture)
    assert here.shape == (len(BODY_LANDMARKS), 2) and np.isnan(nobody).all()
    assert np.array_equal(here, again, equal_nan=True), "no picture depends on the one before"
    head, legs = slice(0, 5), slice(11, 17)
    assert not np.isnan(here[head]).any() and np.isnan(here[legs]).all()
    way = (there - here)[head] * 256
    assert way[:, 0] == pytest.approx(12, abs=6) and way[:, 1] == pytest.approx(0, abs=4)


@pytest.mark.parametrize(
    "subject, measured", [("any", {"l1", "psnr_db"}), ("body", {"l1", "psnr_db", "akd_px", "mkr"})]
)
def test_a_model_is_measured_without_a_face(
    subject: Subject, measured: set[str], ours_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file, page = tmp_path / "data", tmp_path / "scores.json", tmp_path / "report"
    make_mgif(data)
    write_gif(data / "test" / "person.gif", example_driver(3, SIDE))  # so that a body is seen
    arguments = ["--bundle", str(ours_bundle.folder), "--clips", str(data), "--subject", subject, "--stride", "1"]
    more = ["--processes", "1", "--json", str(file), "--report", str(page), "--sheet", str(tmp_path / "sheet.png")]
    assert evaluate.main([*arguments, *more]) == 0
    report = json.loads(file.read_text())
    assert report["trials"] == 2 and report["skipped"] == {} and "face" not in report
    assert {name for name, value in report["baseline"].items() if value is not None} == measured
    assert report["per_trial"]["test/00900"]["akd_px"] is None, "a cartoon has no body that the detector knows"
    assert report["per_trial"]["test/00900"]["l1"] > 0
    printed = capsys.readouterr().out
    assert "-" in printed.splitlines()[1].split() and "What people look at" not in printed
    assert (page / "report.html").is_file() and (tmp_path / "sheet.png").is_file()


def test_a_model_that_reads_the_mesh_needs_a_face(
    blend_bundle: Bundle, mgif: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--bundle", str(blend_bundle.folder), "--clips", str(mgif), "--subject", "any", "--processes", "1"]
    assert evaluate.main(arguments) == 1
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert printed.startswith("avatarify: error:") and "face mesh" in printed and "--subject any" in printed
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["--bundle", str(blend_bundle.folder), "--animate", str(mgif), str(mgif), "--subject", "body"])
    assert "--animate measures only faces" in capsys.readouterr().err
