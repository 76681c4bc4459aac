"""Training learns, resumes, and its parts obey their own definitions."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avatarify_plus.errors import AvatarifyError, ConfigError, DataError
from avatarify_plus.motion.keypoints import keypoints_from_mesh, load_mesh_layout, mirror_keypoints
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.types import Keypoints
from synthetic_cache import mean_face, write_cache
from training.data.cache import Cache, build_cache, list_clips, open_cache, read_clip
from training.data.face_points import openings
from training.data.pairs import Batch, PairOptions, PairSampler, Pool, mesh_distances, mesh_mirror
from training.data.warp import Renderer, mesh_keypoints
from training.evaluation.metrics import FaceDescriber, FaceDescription, Scorer, Scores, mean_scores
from training.loop.checkpoint import load_checkpoint, load_what_fits
from training.loop.loader import BatchLoader
from training.loop.ranks import Ranks
from training.loop.schedule import Stage, learning_rate, parse_stages, stage_at
from training.loop.validation import Validation
from training.objective.losses import (
    RandomTransform,
    equivariance,
    expression_weight,
    perceptual_pyramid,
    weighted_mean,
)
from training.objective.perceptual import perceptual_network
from training.train import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips cut from the bundled driver, and one photo."""
    folder = tmp_path_factory.mktemp("clips")
    frames = read_clip(ROOT / "examples" / "driver.mp4", 256)
    for name, start in (("a_1", 20), ("b_1", 100)):
        writer = cv2.VideoWriter(str(folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (256, 256))
        for frame in frames[start : start + 4]:
            writer.write(frame[..., ::-1])
        writer.release()
    photo = cv2.resize(cv2.imread(str(ROOT / "examples" / "avatar_1.jpg")), (256, 256), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "c_1.png"), photo)
    return folder


@pytest.fixture(scope="module")
def cache(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_cache(clips, tmp_path_factory.mktemp("cache"), 256, 1)


def test_the_cache_holds_every_frame_and_its_face(cache: Cache) -> None:
    assert [(clip.identity, clip.count) for clip in cache.clips] == [("a", 4), ("b", 4), ("c", 1)]
    assert cache.frames.shape == (9, 256, 256, 3)
    assert not np.isnan(cache.landmarks).any()


def test_a_corrupt_clip_is_skipped(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bad_1.mp4").write_bytes(b"not a video")
    (folder / "good_1.mp4").write_bytes((clips / "a_1.mp4").read_bytes())
    assert [clip.name for clip in build_cache(folder, tmp_path / "cache", 64, 1).clips] == ["good_1"]
    with pytest.raises(DataError, match="bad_1"):
        read_clip(folder / "bad_1.mp4", 64)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no videos"):
        list_clips(tmp_path)


def render(cache: Cache, options: PairOptions, stage: Stage, count: int, seed: int = 1) -> Batch:
    """Return the first batches, joined."""
    layout, cpu = load_mesh_layout("face-20"), torch.device("cpu")
    pool = Pool([cache])
    sampler, renderer = PairSampler(pool, layout, options, seed), Renderer(layout, mesh_mirror("face-20"), cpu)
    with BatchLoader(sampler, pool, renderer, Ranks(0, 1, cpu), hold_frames=False) as loader:
        batches = [loader.batch(index, stage) for index in range(count)]
    joined = [
        Keypoints(*map(torch.cat, zip(*parts, strict=True))) if isinstance(parts[0], tuple) else torch.cat(parts)
        for parts in list(zip(*batches, strict=True))[:-1]  # without flow
    ]
    return Batch(*joined)


def test_pairs_are_seeded_and_in_range(cache: Cache) -> None:
    options = PairOptions(photo_share=0.3)
    first, second = (render(cache, options, Stage(128, 128, 4, 1), 1, seed=3) for _ in range(2))
    assert torch.equal(first.source, second.source)
    assert first.source.shape == (4, 3, 128, 128) and first.source.is_contiguous(memory_format=torch.channels_last)
    assert float(first.source.min()) >= 0 and float(first.source.max()) <= 1
    assert first.driving_keypoints.value.shape == (4, 20, 2) and first.driving_mesh.shape == (4, 478, 2)
    assert not torch.allclose(first.source, first.driving)


@pytest.mark.parametrize(("size", "photos"), [(128, 0.0), (256, 0.0), (64, 0.0), (128, 1.0)])
def test_keypoints_follow_the_cropped_picture(cache: Cache, size: int, photos: float) -> None:
    """A bright dot painted on the nose is where keypoint and mesh say, after crop, warp, mirror and scaling."""
    layout = load_mesh_layout("face-20")
    nose = layout.names.index("nose tip")
    points = np.flatnonzero(layout.operator[nose, 0])
    frames = np.zeros_like(cache.frames)
    for index, mesh in enumerate(cache.landmarks):
        x, y = mesh[points, :2].mean(0) * 256
        cv2.circle(frames[index], (round(x), round(y)), 6, (255, 255, 255), -1)
    dotted = Cache(cache.clips, frames, cache.landmarks)
    batch = render(dotted, PairOptions(photo_share=photos, still_share=0), Stage(size, size, 6, 1), 1)
    for image, value, mesh in zip(batch.driving, batch.driving_keypoints.value, batch.driving_mesh, strict=True):
        rows, columns = torch.nonzero(image.mean(0) > 0.4, as_tuple=True)
        found = torch.stack([columns.float().mean(), rows.float().mean()]) + 0.5
        for told in ((value[nose] + 1) * size / 2, mesh[points].mean(0) * size):
            assert float((found - told).abs().max()) < max(1.0, 1.5 * size / 128)
    assert bool(batch.is_photo.all()) == (photos == 1)


def test_keypoints_in_torch_are_those_of_the_app(cache: Cache) -> None:
    layout = load_mesh_layout("face-20")
    expected = keypoints_from_mesh(cache.landmarks, layout)
    found = mesh_keypoints(torch.from_numpy(cache.landmarks[..., :2] * 2 - 1), torch.from_numpy(layout.operator))
    np.testing.assert_allclose(found.value, expected.value, atol=1e-5)
    np.testing.assert_allclose(found.jacobian, expected.jacobian, atol=1e-4)


def test_mirroring_a_mesh_twice_gives_it_back_and_keeps_sides(cache: Cache) -> None:
    layout, mirror = load_mesh_layout("face-20"), mesh_mirror("face-20")
    assert (mirror[mirror] == np.arange(478)).all()
    assert [int(mirror[point]) for point in (33, 133, 61, 13, 468)] == [263, 362, 291, 13, 473]
    mesh = cache.landmarks[0]
    mirrored = (mesh * [-1, 1, 1] + [1, 0, 0])[mirror].astype(np.float32)
    assert mirrored[33, 0] < mirrored[263, 0]  # the eye on the picture's left is still the one on the left
    found = keypoints_from_mesh(mirrored, layout)
    expected = mirror_keypoints(keypoints_from_mesh(mesh, layout), layout)
    np.testing.assert_allclose(found.value, expected.value, atol=0.03)
    np.testing.assert_allclose(found.jacobian, expected.jacobian, atol=0.1)


def test_both_pictures_of_a_clip_share_their_crop(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 3, "b_1": 4}))])
    choice = PairSampler(pool, load_mesh_layout("face-20"), PairOptions(), seed=0).choose(0, 50)
    np.testing.assert_array_equal(choice.affine[:, 0], choice.affine[:, 1])
    assert not choice.spline.any() and not choice.is_photo.any()
    reach = np.abs(choice.affine[:, 0] @ [[1, -1], [1, -1], [1, 1]])
    assert reach.max() <= 1 + 1e-6, "a crop looks outside the picture"
    clip = choice.rows >= 3
    assert (clip[:, 0] == clip[:, 1]).all() and (choice.rows[:, 0] != choice.rows[:, 1]).all()


def test_people_are_balanced_by_the_exponent(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 4, "b_1": 36}))])
    for exponent, expected in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.1)):
        options = PairOptions(identity_exponent=exponent, hard_share=0)
        sampler = PairSampler(pool, load_mesh_layout("face-20"), options, seed=0)
        share = float((sampler.choose(0, 4000).rows[:, 0] < 4).mean())
        assert share == pytest.approx(expected, abs=0.03)


def test_photos_of_one_person_make_real_pairs(tmp_path: Path) -> None:
    names = {"a_neutral": 1, "a_smiling": 1, "b_1": 1, "c_1": 5}
    pool = Pool([open_cache(write_cache(tmp_path, names))])
    options = PairOptions(photo_share=0.25, still_share=0.25)
    choice = PairSampler(pool, load_mesh_layout("face-20"), options, seed=0).choose(0, 2000)
    is_still = (choice.rows.max(1) < 2) & (choice.rows[:, 0] != choice.rows[:, 1])
    assert is_still.mean() == pytest.approx(0.25, abs=0.04) and choice.is_photo.mean() == pytest.approx(0.25, abs=0.04)
    assert (choice.rows[choice.is_photo, 0] == choice.rows[choice.is_photo, 1]).all()
    assert not choice.spline[~choice.is_photo].any() and choice.spline[choice.is_photo].all()
    alone = Pool([open_cache(write_cache(tmp_path / "alone", {"a_1": 1}))])
    assert PairSampler(alone, load_mesh_layout("face-20"), PairOptions(), seed=0).choose(0, 9).is_photo.all()


def test_hard_pairs_differ_more(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 30}))])
    layout = load_mesh_layout("face-20")

    def spread(hard_share: float) -> float:
        rows = PairSampler(pool, layout, PairOptions(hard_share=hard_share), seed=0).choose(0, 300).rows
        meshes = pool.meshes(rows)
        return float(np.abs(meshes[:, 0] - meshes[:, 1]).mean())

    assert spread(1.0) > 1.1 * spread(0.0)


def test_hard_pairs_open_mouths_and_close_eyes(tmp_path: Path) -> None:
    pool = Pool([open_cache(write_cache(tmp_path, {"a_1": 30}))])
    layout, random = load_mesh_layout("face-20"), np.random.default_rng(0)
    lower_lip, lower_lids = [14, 87, 317], [144, 145, 153, 373, 374, 380]
    landmarks = np.array(pool.caches[0].landmarks)
    landmarks[:, :, :2] = mean_face() * 0.2 + 0.5
    for points in (lower_lip, lower_lids):
        landmarks[:, points, 1] += random.uniform(0, 0.05, (30, 1))
    pool.caches[0] = replace(pool.caches[0], landmarks=landmarks)

    def opened(hard_share: float) -> np.ndarray:
        rows = PairSampler(pool, layout, PairOptions(hard_share=hard_share), seed=0).choose(0, 600).rows
        change = [opening[:, 1] - opening[:, 0] for opening in openings(pool.meshes(rows))]
        return np.array([np.mean(change[0]), -np.mean(change[1])])

    assert (opened(1.0) > 5 * np.abs(opened(0.0))).all()


def test_an_open_mouth_is_a_change_of_the_mouth_alone_whatever_the_pose() -> None:
    layout = load_mesh_layout("face-20")
    lower = list(np.flatnonzero(layout.operator[layout.names.index("lower lip"), 0]))
    rest = mean_face() * 0.2 + 0.5
    turned = (mean_face() @ [[0.6, 0.1], [-0.1, 1.0]]) * 0.2 + 0.45
    opened = rest.copy()
    opened[lower, 1] += 0.04
    mouth, eyes = (np.flatnonzero(np.abs(layout.operator[row, 0])) for row in (layout.names.index("lower lip"), 2))
    meshes = np.stack([rest, turned, opened]).astype(np.float32)[None].repeat(3, 0)
    whole, lips, lids = mesh_distances(meshes, np.arange(3), layout, [mouth, eyes])
    assert whole[0] > whole[1] and lips[1] > 10 * lips[0] and lips[1] > 3 * lids[1]


def test_no_face_is_an_error(cache: Cache) -> None:
    blank = Cache(cache.clips, cache.frames, np.full_like(cache.landmarks, np.nan))
    with pytest.raises(DataError, match="no face was found"):
        PairSampler(Pool([blank]), load_mesh_layout("face-20"), PairOptions(), seed=0)
    with pytest.raises(DataError, match="no clip for validation"):
        Validation(blank, load_mesh_layout("face-20"), clips=2)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        PairOptions(photo_share=0.7, still_share=0.7)


def test_equivariance_is_zero_under_its_own_transform() -> None:
    like = torch.zeros(2, 3, 32, 32)
    transform = RandomTransform.draw(2, like)
    moved = Keypoints(torch.rand(2, 5, 2) - 0.5, torch.eye(2) + 0.1 * torch.randn(2, 5, 2, 2))
    jacobian = transform.jacobian(moved.value) @ moved.jacobian
    value_loss, jacobian_loss = equivariance(transform, Keypoints(transform.apply(moved.value), jacobian), moved)
    assert float(value_loss.detach()) < 1e-5 and float(jacobian_loss.detach()) < 1e-4
    wrong = Keypoints(transform.apply(moved.value) + 0.1, jacobian)
    assert float(equivariance(transform, wrong, moved)[0].detach()) > 0.05


def test_transform_jacobian_matches_finite_differences() -> None:
    transform = RandomTransform.draw(1, torch.zeros(1))
    points = torch.tensor([[[0.1, -0.3]]])
    step = 1e-2
    columns = [
        (transform.apply(points + offset) - transform.apply(points - offset)) / (2 * step)
        for offset in (torch.tensor([step, 0.0]), torch.tensor([0.0, step]))
    ]
    found = transform.jacobian(points).detach()
    torch.testing.assert_close(found, torch.stack(columns, -1).detach(), atol=5e-3, rtol=0)


def test_perceptual_distance_grows_with_distortion(cache: Cache) -> None:
    network = perceptual_network("efficientnet-lite0")
    image = torch.from_numpy(np.array(cache.frames[8]))[None].permute(0, 3, 1, 2).float() / 255
    distances = [
        float(
            perceptual_pyramid(
                network, (image + amount * torch.randn_like(image)).clamp(0, 1), image, torch.ones(1, 1, 256, 256), 2
            )
        )
        for amount in (0.0, 0.02, 0.1)
    ]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert distances[0] < distances[1] < distances[2]


def test_errors_at_the_eyes_and_in_the_mouth_count_more(cache: Cache) -> None:
    mesh = torch.from_numpy(np.array(cache.landmarks[:1, :, :2]))
    mesh[:, list(range(468, 478))] = 0.5
    weight = expression_weight(mesh, 128, gain=3.0)
    upper, lower, eye = mesh[0, 13], mesh[0, 14], mesh[0, 159]
    for x, y in (eye, (upper + lower) / 2):
        assert weight[0, 0, int(y * 128), int(x * 128)] > 3
    assert weight[0, 0, 2, 2] == pytest.approx(1)
    opened = mesh.clone()
    opened[:, [14, 87, 317, 178, 402, 88, 318], 1] += 0.15  # the inside of a wide open mouth
    x, y = (opened[0, 13] + opened[0, 14]) / 2
    assert expression_weight(opened, 128, 3.0)[0, 0, int(y * 128), int(x * 128)] > 3
    near, far = torch.zeros(2, 1, 3, 128, 128)
    near[..., int(eye[1] * 128), int(eye[0] * 128)], far[..., 2, 2] = 1.0, 1.0
    assert weighted_mean(near, weight) > 3 * weighted_mean(far, weight)
    assert weighted_mean(torch.full((1, 3, 32, 32), 0.2), weight) == pytest.approx(0.2)


def test_one_pair_overfits(cache: Cache) -> None:
    batch = render(cache, PairOptions(photo_share=0), Stage(64, 64, 1, 1), 1)
    config = network_config("ours-skip", "tiny", keypoints="mesh", keypoint_count=20, image_size=64, motion_size=32)
    model = AnimationModel(config).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = (model(batch.source, batch.source_keypoints, batch.driving_keypoints).image - batch.driving).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_training_runs_saves_and_resumes(clips: Path, tmp_path: Path) -> None:
    def command(steps: int) -> list[str]:
        shape = ["--preset", "ours-skip", "--size", "tiny", "--stages", "64x1:0.5,128/64x1:0.5"]
        return [
            *("--data", str(clips), "--val", str(clips), "--out", str(tmp_path), *shape),
            *("--steps", str(steps), "--seed", "1", "--precision", "fp32", "--device", "cpu"),
        ]

    assert main(command(2)) == 0
    first = load_checkpoint(tmp_path / "checkpoint.pt")
    assert first["step"] == 2 and first["training"]["data"]["identities"] == 2
    assert list(tmp_path.glob("sheet-*.png")) and (tmp_path / "loss.png").exists()
    assert main(command(4)) == 0
    second = load_checkpoint(tmp_path / "checkpoint.pt")
    assert second["step"] == 4 and second["elapsed_s"] > first["elapsed_s"]
    other = [*command(6), "--keypoints", "learned"]
    assert main(other) == 1  # the run folder holds another network


def test_learned_keypoints_train_from_the_mesh(clips: Path, tmp_path: Path) -> None:
    shape = ["--preset", "ours", "--size", "tiny", "--stages", "64x2:1", "--keypoints", "learned", "--mesh-warmup", "1"]
    arguments = ["--data", str(clips), "--out", str(tmp_path), *shape, "--steps", "2", "--device", "cpu"]
    assert main(arguments) == 0
    assert json.loads(json.dumps(load_checkpoint(tmp_path / "checkpoint.pt")["config"]))["keypoints"] == "learned"


def test_stages_and_schedule() -> None:
    stages = parse_stages("128x6:0.75,256/128x4:0.25")
    assert stages == [Stage(128, 128, 6, 0.75), Stage(256, 128, 4, 0.25)]
    assert stage_at(stages, 0.74).image_size == 128 and stage_at(stages, 0.76).image_size == 256
    for bad in ("128:1", "128x4:0.5", "128/256x4:1", "128x0:1"):
        with pytest.raises(ConfigError):
            parse_stages(bad)
    rates = [learning_rate(1.0, progress, 1000) for progress in (0.0, 0.5, 1.0)]
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(0.02)
    rising = [learning_rate(1.0, 0.0, step) for step in (0, 20, 50, 90)]
    assert rising == sorted(set(rising)) and rising[0] < 0.02


def test_unknown_perceptual_network_is_refused() -> None:
    with pytest.raises(AvatarifyError, match="vgg99"):
        perceptual_network("vgg99")


def test_metrics_of_a_picture_with_itself_and_with_noise(cache: Cache) -> None:
    describer = FaceDescriber()
    image = np.array(cache.frames[8])
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    blank = np.zeros_like(image)
    face, noisy_face, nobody = (describer.describe(picture) for picture in (image, noisy, blank))
    same, worse, missing = Scorer(), Scorer(), Scorer()
    same.add(image, image, face, face)
    worse.add(noisy, image, noisy_face, face)
    missing.add(blank, image, nobody, face)
    assert same.scores() == pytest.approx(Scores(0, 100, 0, 0, 0), abs=1e-6)
    assert worse.scores().l1 > 0.02 and worse.scores().psnr_db < 30 and worse.scores().aed > 0.01
    assert missing.scores().mkr == 1 and np.isnan(missing.scores().akd_px)


def test_akd_is_in_pixels_of_256() -> None:
    mesh = np.full((468, 3), 0.5, np.float32)
    moved = mesh + np.array([3 / 256, 4 / 256, 0.7], np.float32)
    scorer, image = Scorer(), np.zeros((8, 8, 3), np.uint8)
    scorer.add(image, image, FaceDescription(moved, None), FaceDescription(mesh, None))
    assert scorer.scores().akd_px == pytest.approx(5, abs=1e-3)


def test_mean_scores_ignore_what_was_not_measured() -> None:
    nan = float("nan")
    assert mean_scores([Scores(1, 1, nan, 1, 1), Scores(3, 1, 4, 1, 1)])[:3] == (2, 1, 4)


def test_a_warm_start_takes_what_fits() -> None:
    narrow, wide = (
        AnimationModel(network_config(preset, "tiny", keypoints="mesh", keypoint_count=4))
        for preset in ("ours", "ours-skip")
    )
    load_what_fits(wide, narrow.state_dict())
    torch.testing.assert_close(wide.generator.first.conv.weight, narrow.generator.first.conv.weight)
    assert float(wide.dense_motion.mask_prior.detach().min()) == 8.0
