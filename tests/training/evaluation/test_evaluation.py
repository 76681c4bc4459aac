"""Measures obey their definitions, and an evaluation survives bad data and any number of processes."""

import base64
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from avatarify_plus.bundle import Bundle, open_bundle
from avatarify_plus.engines import Source
from avatarify_plus.errors import DataError
from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.types import FloatArray, Image, Keypoints
from fakes import EXAMPLES, FakeEngine, example_driver, plain_picture
from training import filmstrip
from training.evaluate import main
from training.evaluation.closeups import CLOSEUP_PX, CLOSEUP_TITLES
from training.evaluation.figures import draw_keypoints, keypoint_colours
from training.evaluation.metrics import (
    AnimationScorer,
    FaceDescription,
    Scorer,
    angles_deg,
    correlation,
    face_mask,
    jitter,
    openings,
)
from training.evaluation.picture_fit import fit
from training.evaluation.runner import Setup, Skipped, TrialJob, TrialResult
from training.evaluation.trial_processes import run_jobs
from training.evaluation.trials import Trial, animations, decode_squares, puppet_pairs, self_reenactments, spread

SECTIONS = (
    "Side by side",
    "Close-ups",
    "Scores",
    "Failure cases",
    "How the picture is made",
    "Keypoints",
    "How the model came about",
    "Per trial, worst first",
    "Skipped",
    "To measure it again",
)


def write_clip(path: Path, pictures: list[Image]) -> Path:
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
    for picture in pictures:
        writer.write(picture[..., ::-1])
    writer.release()
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of a face, one without, and a file that is not a video."""
    folder = tmp_path_factory.mktemp("clips")
    frames = example_driver(16, 256)
    write_clip(folder / "a_1.mp4", frames[:6])
    write_clip(folder / "b_1.mp4", frames[10:16])
    write_clip(folder / "nobody_1.mp4", [plain_picture(90, 256, 256)] * 4)
    (folder / "broken_1.mp4").write_bytes(b"no video")
    return folder


def with_mouth(face: FloatArray, gap: float) -> FloatArray:
    opened = face.copy()
    opened[14] = opened[13] + np.array([0, gap, 0], np.float32)
    return opened


def turned(face: FloatArray, axis: int, degrees: float) -> FloatArray:
    """Rotate a mesh about an axis through the picture's middle."""
    vector = np.zeros(3)
    vector[axis] = np.radians(degrees)
    matrix, _ = cv2.Rodrigues(vector)
    return ((face - [0.5, 0.5, 0]) @ matrix.T + [0.5, 0.5, 0]).astype(np.float32)


def test_the_truth_scores_perfectly_against_itself(face: FloatArray) -> None:
    scorer, image = Scorer(), np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for gap in np.linspace(0, 0.1, 7):
        mesh = with_mouth(face, gap)
        description = FaceDescription(mesh[:468], np.ones(128, np.float32), mesh)
        scorer.add(image, image, description, description)
    assert scorer.scores() == (0, pytest.approx(100), 0, 0, 0)
    found = scorer.face_scores()
    assert found[:4] == (0, 0, 0, 0)
    assert found.mouth_correlation == pytest.approx(1) and np.isnan(found.eye_correlation)  # the eyes do not move


def test_errors_count_where_they_are(face: FloatArray) -> None:
    truth = np.full((128, 128, 3), 100, np.uint8)
    inside = face_mask(face, 128, 128)
    assert inside[64, 64] and not inside[2, 2] and 0.05 < inside.mean() < 0.6
    prediction = truth.copy()
    prediction[inside] += 51
    lips_moved = face + np.where(np.isin(np.arange(478), (13, 14, 61, 291))[:, None], [0.1, 0, 0], 0).astype(np.float32)
    scorer = Scorer()
    scorer.add(prediction, truth, FaceDescription(face, None, lips_moved), FaceDescription(face, None, face))
    found = scorer.face_scores()
    assert found.face_l1 == pytest.approx(0.2) and found.surround_l1 == 0
    assert found.mouth_akd_px == pytest.approx(4 * 25.6 / 40, rel=1e-3) and found.eye_akd_px == 0


def test_blinks_are_measured_where_the_truth_blinks(face: FloatArray) -> None:
    shut = face.copy()
    for upper, lower in ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373)):
        shut[upper] = shut[lower]
    assert openings(shut).eyes == 0 < openings(face).eyes
    scorer, image = Scorer(), plain_picture(0)
    for mesh in (face, face, shut, face, face):
        scorer.add(image, image, FaceDescription(face, None, face), FaceDescription(mesh, None, mesh))
    found = scorer.face_scores()
    assert found.blink_akd_px == pytest.approx(5 * found.eye_akd_px) and found.blink_akd_px > 0
    assert found.eye_correlation == 0  # the prediction never blinks


def test_correlation_knows_its_limits() -> None:
    values = np.random.default_rng(1).normal(size=20)
    assert correlation(values, values, 0.1) == pytest.approx(1)
    assert correlation(-2 * values, values, 0.1) == pytest.approx(-1)
    assert np.isnan(correlation(values, values, 100)) and np.isnan(correlation(values[:3], values[:3], 0.1))
    assert correlation(np.ones(20), values, 0.1) == 0


@pytest.mark.parametrize(("axis", "angle"), [(1, 0), (0, 1), (2, 2)])
def test_head_turns_are_read_off_the_mesh(face: FloatArray, axis: int, angle: int) -> None:
    start = angles_deg(face)
    moved = [a - b for a, b in zip(angles_deg(turned(face, axis, 20)), start, strict=True)]
    assert abs(moved[angle]) == pytest.approx(20, abs=0.5)
    assert [abs(moved[other]) < 0.5 for other in range(3) if other != angle] == [True, True]


def test_jitter_is_relative_to_the_driver(face: FloatArray) -> None:
    generator = np.random.default_rng(2)
    driver = [face + generator.normal(0, 0.003, face.shape).astype(np.float32) for _ in range(8)]
    half = [face + (mesh - face) / 2 for mesh in driver]
    assert jitter(list(zip(driver, driver, strict=True))) == pytest.approx(1)
    assert jitter(list(zip(half, driver, strict=True))) == pytest.approx(0.5, rel=0.05)
    larger = [(mesh - 0.5) * 2 + 0.5 for mesh in driver]
    assert jitter(list(zip(larger, driver, strict=True))) == pytest.approx(1, rel=1e-3)
    assert np.isnan(jitter([(face, face), None, (face, face), (face, face)]))


def test_an_animation_is_compared_with_photo_and_driver(face: FloatArray) -> None:
    photo = FaceDescription(face, np.zeros(128, np.float32), face)
    scorer = AnimationScorer(photo)
    for step in range(6):
        mesh = turned(face, 1, 5.0 * step)
        identity = np.zeros(128, np.float32)
        identity[0] = 0.5 if step < 3 else 0.7
        scorer.add(FaceDescription(mesh, identity, mesh), mesh)
    scorer.add(FaceDescription(None, None), face)
    scorer.add(FaceDescription(None, None), None)  # the driver left: nothing to follow
    found = scorer.scores()
    assert found.identity_distance == pytest.approx(0.6) and found.same_person == pytest.approx(0.5)
    assert found.faceless == pytest.approx(1 / 7)
    assert found.yaw_correlation == pytest.approx(1) and np.isnan(found.roll_correlation)
    assert np.isnan(found.mouth_correlation)


def test_pictures_are_cut_square_and_missing_ones_named(tmp_path: Path) -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert np.stack(list(decode_squares(write_clip(tmp_path / "wide.mp4", [wide] * 3), 32))).min() > 150
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"bad\.mp4"):
        next(decode_squares(tmp_path / "bad.mp4", 32))


def test_pairs_are_as_many_as_asked_for(clips: Path, tmp_path: Path) -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9] and spread(range(3), 9) == [0, 1, 2] and spread(range(3), 1) == [0]
    trials = animations(EXAMPLES, clips)
    assert len(trials) == 4 * 4 and all(trial.truth is None and trial.motion == "relative" for trial in trials)
    assert len(animations(EXAMPLES, clips, photo_count=2, driver_count=1)) == 2
    assert len(animations(clips, clips)) == 4 * 3  # nobody drives himself
    some = animations(EXAMPLES, clips, pairs=5)
    assert len(some) == 5 and some == animations(EXAMPLES, clips, pairs=5)
    named = tmp_path / "pairs.csv"
    named.write_text("source,driving,best_frame\navatar_2,a_1.mp4,3\n")
    (only,) = animations(EXAMPLES, clips, pairs=named)
    assert (only.source.name, only.driving.name, only.initial) == ("avatar_2.jpg", "a_1.mp4", 3)
    np.testing.assert_array_equal(only.initial_picture(64), list(decode_squares(clips / "a_1.mp4", 64))[3])


def test_trials_against_a_truth(clips: Path, tmp_path: Path) -> None:
    assert [trial.name for trial in self_reenactments(clips)] == ["a_1", "b_1", "broken_1", "nobody_1"]
    assert len(puppet_pairs(clips)) == 4 * 3
    write_clip(tmp_path / "short.mp4", [plain_picture(9, 64, 64)] * 2)
    write_clip(tmp_path / "long.mp4", [plain_picture(9, 64, 64)] * 3)
    with pytest.raises(DataError, match="differ in length"):
        list(puppet_pairs(tmp_path)[0].frames(64))
    with pytest.raises(DataError, match="no videos"):
        animations(clips, EXAMPLES / "avatar_1.jpg")


def read_page(page: Path) -> tuple[str, list[Image]]:
    """Return a report without its pictures, and these."""
    text = page.read_text()
    found = re.findall(r'src="data:image/jpeg;base64,(.*?)"', text)
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) for data in found]
    assert all(picture is not None and picture.shape[0] >= 100 for picture in pictures)
    return re.sub(r'src=".*?"', "", text), pictures


def test_one_and_two_processes_agree_and_report_everything(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--bundle", "live-256", "--clips", str(clips), "--stride", "3"]
    page, sheet = tmp_path / "report" / "report.html", tmp_path / "sheet.png"
    closeups = tmp_path / "closeups"
    pictured = ["--report", str(page.parent), "--sheet", str(sheet), "--compare", "live-256"]
    pictured += ["--closeups", str(closeups)]
    reports = []
    for processes, more in (("1", pictured), ("2", [])):
        file = tmp_path / f"{processes}.json"
        assert main([*common, "--processes", processes, "--json", str(file), *more]) == 0
        reports.append(json.loads(file.read_text()))
    first, second = ({k: v for k, v in report.items() if k not in ("seconds", "engine")} for report in reports)
    assert first["skipped"].keys() == {"broken_1", "nobody_1"} and "no face" in first["skipped"]["nobody_1"]
    assert first.pop("skipped") == second.pop("skipped")
    assert first.pop("compared") == {"live-256": first["ours"]} and first["face"].pop("compared")
    assert first["detail"].pop("compared") == {"live-256": first["detail"]["ours"]}
    assert first == second and first["trials"] == 2
    assert first["ours"]["akd_px"] < 3 and first["ours"]["mkr"] == 0
    ours, baseline = first["detail"]["ours"], first["detail"]["baseline"]
    assert 0 < ours["mouth_perceptual"] < baseline["mouth_perceptual"] and 0.7 < ours["sharpness"] < 1.1
    assert baseline["sharpness"] == 1 and baseline["flicker"] == 0
    assert set(ours) < set(first["per_trial"]["a_1"])
    printed = capsys.readouterr()
    assert "repeat the source" in printed.out and "skipped broken_1" in printed.err

    text, pictures = read_page(page)
    assert re.findall(r"<h2>(.*?)</h2>", text) == list(SECTIONS)
    assert len(pictures) > 6 and list(page.parent.iterdir()) == [page]
    assert "broken_1" in text and "http" not in text and "url(" not in text
    assert text.index("<figure>") < text.index("<table>") and "prefers-color-scheme: dark" in text
    assert "started_from" not in text, "how a model came about is told as a table"
    assert cv2.imread(str(sheet)).shape == (24 + 2 * 160, 5 * 160, 3)
    for kind in CLOSEUP_TITLES:
        file = closeups / f"{kind}.png"
        assert file.exists() != (f"{file} is not written" in printed.err)
        assert not file.exists() or cv2.imread(str(file)).shape[1] == 4 * CLOSEUP_PX


@pytest.fixture(scope="module")
def large_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of 320 px."""
    folder = tmp_path_factory.mktemp("large")
    write_clip(folder / "a_1.mp4", example_driver(6, 320))
    return folder


def test_larger_clips_keep_their_size_if_asked_to(
    clips: Path, large_clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = large_clips / "a_1.mp4"
    (trial,) = self_reenactments(large_clips)
    for max_px, side_px in ((None, 256), (300, 300), (512, 320)):
        driving, truth = next(trial.frames(256, max_px))
        assert truth is driving and driving.shape == trial.source_picture(256, max_px).shape == (side_px, side_px, 3)
    assert next(decode_squares(path, 512, 512)).shape == (512, 512, 3)  # never smaller than the model's own

    truths: dict[int | None, TrialResult] = {}
    for truth_px in (None, 512):
        setup = Setup((open_bundle("live-256"),), "auto", threads=1, stride=2, truth_px=truth_px)
        ((_, outcome, _),) = run_jobs(setup, [TrialJob(0, trial, is_shown=True)], 1)
        assert isinstance(outcome, TrialResult) and outcome.farthest is not None
        truths[truth_px] = outcome
    small, large = (truths[truth_px].farthest for truth_px in (None, 512))
    assert small is not None and large is not None and large.truth is not None
    assert small.predictions[0].shape == (256, 256, 3)
    assert large.source.shape == large.driving.shape == large.truth.shape == large.predictions[0].shape == (320, 320, 3)
    at_256, at_320 = (truths[truth_px].tables for truth_px in (None, 512))
    assert at_320[0][0] != at_256[0][0]
    assert at_320[0][0][2] == pytest.approx(at_256[0][0][2], abs=0.3)  # AKD stays in px of 256

    file = tmp_path / "scores.json"
    command = ["--model", "live-256", "--clips", str(clips), "--every", "4", "--processes", "1", "--json", str(file)]
    same = []
    for more in ([], ["--truth-px", "512"]):
        assert main([*command, *more]) == 0
        same.append(json.loads(file.read_text())["per_trial"])
    assert same[0] == same[1]  # clips of 256 px
    capsys.readouterr()
    assert main(["--model", "live-256", "--clips", str(clips), "--truth-px", "128", "--processes", "1"]) == 1
    assert "--truth-px must be at least the models' own 256 px, found 128" in capsys.readouterr().err


class LargeEngine(FakeEngine):
    """Returns pictures larger than those it is given."""

    def animate(self, source: Source, keypoints: Keypoints) -> Image:
        return fit(super().animate(source, keypoints), 384)


@pytest.mark.parametrize(("truth_px", "side_px"), [(None, 256), (300, 300), (512, 320)])
def test_pictures_of_another_size_are_brought_to_the_truths(
    truth_px: int | None, side_px: int, large_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LargeEngine(image_size=256)
    monkeypatch.setattr("training.evaluation.runner.open_engine", lambda *_: engine)
    (trial,) = self_reenactments(large_clips)
    setup = Setup((open_bundle("live-256"),), "auto", threads=1, stride=2, truth_px=truth_px)
    ((_, outcome, _),) = run_jobs(setup, [TrialJob(0, trial, is_shown=True)], 1)
    assert isinstance(outcome, TrialResult) and outcome.farthest is not None
    assert outcome.farthest.predictions[0].shape == (side_px, side_px, 3)
    assert engine.sources[0].shape == (256, 256, 3)  # the model sees its own size


def test_a_report_of_larger_clips_is_whole(large_clips: Path, tmp_path: Path) -> None:
    page = tmp_path / "report" / "report.html"
    command = ["--model", "live-256", "--clips", str(large_clips), "--truth-px", "320", "--report", str(page.parent)]
    assert main([*command, "--processes", "1", "--stride", "3"]) == 0
    _, pictures = read_page(page)
    assert len(pictures) > 4


def test_a_photo_in_its_own_size_is_measured_like_any_other(photo_bundle: Bundle, clips: Path, tmp_path: Path) -> None:
    """The source is seen in the clip's size, the pictures are compared in the model's."""
    file = tmp_path / "scores.json"
    arguments = ["--model", str(photo_bundle.folder), "--clips", str(clips), "--stride", "3", "--json", str(file)]
    more = ["--processes", "1", "--report", str(tmp_path / "report"), "--compare", "live-256"]
    assert main([*arguments, *more]) == 0
    report = json.loads(file.read_text())
    assert report["trials"] == 2 and 0 < report["ours"]["l1"] < 0.5


def test_photos_follow_drivers(clips: Path, tmp_path: Path) -> None:
    file, page = tmp_path / "scores.json", tmp_path / "report" / "report.html"
    arguments = ["--bundle", "live-256", "--animate", str(EXAMPLES / "avatar_2.jpg"), str(clips / "a_1.mp4")]
    more = ["--stride", "1", "--processes", "1", "--json", str(file), "--report", str(page.parent)]
    assert main([*arguments, *more]) == 0
    report = json.loads(file.read_text())
    assert report["kind"] == "animation" and report["ours"]["faceless"] == 0 and report["ours"]["same_person"] == 1
    assert report["per_trial"]["avatar_2 < a_1"] == report["ours"]
    text, pictures = read_page(page)
    assert "distance to the photo" in text and pictures


class DeadlyTrial(Trial):
    """Takes its process with it."""

    def source_picture(self, size: int, max_px: int | None = None) -> Image:
        os._exit(3)


def test_a_trial_that_kills_its_process_is_named(clips: Path) -> None:
    path = clips / "a_1.mp4"
    deadly = DeadlyTrial("deadly", path, path, path, "absolute")
    harmless = Trial("harmless", path, path, path, "absolute")
    setup = Setup((open_bundle("live-256"),), "auto", threads=1, stride=3)
    jobs = [TrialJob(index, trial, is_shown=False) for index, trial in enumerate((deadly, harmless))]
    outcomes = {job.trial.name: outcome for job, outcome, _ in run_jobs(setup, jobs, 2)}
    assert isinstance(outcomes["deadly"], Skipped) and "died" in outcomes["deadly"].reason
    assert isinstance(outcomes["harmless"], TrialResult)


def test_mistakes_are_named(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", "live-256", "--clips", str(tmp_path)]) == 1
    assert "no videos" in capsys.readouterr().err
    (tmp_path / "bad_1.mp4").write_bytes(b"no video")
    assert main(["--bundle", "live-256", "--clips", str(tmp_path), "--processes", "1"]) == 1
    assert "none of the 1 trials" in capsys.readouterr().err
    body = ["--subject", "body", "--closeups", str(tmp_path)]
    for wrong in (["--photos", "2"], ["--stride", "0"], ["--engine", "abacus"], body):
        with pytest.raises(SystemExit, match="2"):
            main(["--bundle", "live-256", "--clips", str(clips), *wrong])


@pytest.mark.parametrize("option", ["--json", "--sheet", "--report", "--closeups"])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_measured(
    option: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "out.png"
    assert main(["--model", "no-such-model", "--clips", str(clips), option, str(place)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"avatarify: error: cannot write {place}") and f"for {option}" in error


def test_json_on_stdout_is_all_there_is(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a_1.mp4").write_bytes((clips / "a_1.mp4").read_bytes())
    command = ["--model", "live-256", "--clips", str(tmp_path / "clips"), "--report", str(tmp_path / "report")]
    assert main([*command, "--stride", "3", "--processes", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 1 and (tmp_path / "report" / "report.html").exists()


def test_keypoints_are_drawn_where_they_are() -> None:
    keypoints = Keypoints(
        np.array([[-0.5, -0.5], [0.5, 0.25]], np.float32), np.tile(np.eye(2, dtype=np.float32), (2, 1, 1))
    )
    drawn = draw_keypoints(plain_picture(0, 64, 64), keypoints, scale=20)
    colours = keypoint_colours(2)
    side = drawn.shape[0]
    assert tuple(drawn[side // 4, side // 4]) == colours[0]
    assert tuple(drawn[side * 5 // 8, side * 3 // 4]) == colours[1]
    assert tuple(drawn[side // 4, side // 4 + 12]) == colours[0]  # the first axis points right
    count = load_mesh_layout("face-20").keypoint_count
    assert len(set(keypoint_colours(count))) == count


def test_a_filmstrip_shows_the_frames_asked_for(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strip.png"
    video = str(clips / "a_1.mp4")
    assert filmstrip.main([video, video, "--frames", "4", "0", "4", "--side", "32", "--out", str(out)]) == 0
    strip = cv2.imread(str(out))
    assert strip.shape == (64, 96, 3)
    np.testing.assert_array_equal(strip[:, :32], strip[:, 64:])
    assert filmstrip.main([video, "--frames", "6", "--out", str(out)]) == 1
    capsys.readouterr()
    assert filmstrip.main([video, "--frames", "1", "--out", str(tmp_path / "strip")]) == 1
    assert "choose a name that ends in .png or .jpg" in capsys.readouterr().err
