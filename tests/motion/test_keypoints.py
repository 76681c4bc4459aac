"""Motion in keypoint space."""

import json
from importlib import resources

import numpy as np
import pytest

from avatarify_plus.errors import ConfigError
from avatarify_plus.motion.keypoints import (
    KeypointSmoother,
    MeshLayout,
    blend,
    determinant,
    invert,
    keypoints_from_mesh,
    load_mesh_layout,
    mirror_keypoints,
    movement_scale,
    transfer,
)
from avatarify_plus.types import FloatArray, Keypoints


@pytest.fixture(scope="module")
def layout() -> MeshLayout:
    return load_mesh_layout("face-20")


@pytest.fixture(scope="module")
def mesh(layout: MeshLayout) -> FloatArray:
    """The layout's mean face in the middle of a picture, bent a little: (478, 3)."""
    file = resources.files("avatarify_plus") / "mesh_layouts" / "face-20.json"
    face = np.array(json.loads(file.read_text())["mean_face"], np.float32)
    bent = 0.5 + 0.2 * face + 0.01 * np.sin(9 * face[:, ::-1])
    return np.concatenate([bent, np.zeros((len(face), 1), np.float32)], 1).astype(np.float32)


def some_keypoints(seed: int, count: int = 10) -> Keypoints:
    random = np.random.default_rng(seed)
    value = random.uniform(-0.7, 0.7, (count, 2)).astype(np.float32)
    jacobian = np.eye(2, dtype=np.float32) + random.uniform(-0.3, 0.3, (count, 2, 2)).astype(np.float32)
    return Keypoints(value, jacobian)


def test_closed_form_inverse_and_determinant_equal_numpys() -> None:
    matrices = some_keypoints(0, 50).jacobian
    np.testing.assert_allclose(invert(matrices), np.linalg.inv(matrices), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(determinant(matrices), np.linalg.det(matrices), rtol=1e-4, atol=1e-6)


def test_zero_relative_motion_returns_the_sources_keypoints() -> None:
    source, driving = some_keypoints(1), some_keypoints(2)
    moved = transfer(source, driving, driving, scale=1.7)
    np.testing.assert_allclose(moved.value, source.value, atol=1e-6)
    np.testing.assert_allclose(moved.jacobian, source.jacobian, atol=1e-5)
    assert moved.value.dtype == moved.jacobian.dtype == np.float32


def test_relative_motion_of_oneself_returns_the_driving_keypoints() -> None:
    initial, driving = some_keypoints(3), some_keypoints(4)
    moved = transfer(initial, driving, initial)
    np.testing.assert_allclose(moved.value, driving.value, atol=1e-6)
    np.testing.assert_allclose(moved.jacobian, driving.jacobian, atol=1e-5)


def test_relative_motion_grows_with_its_scale() -> None:
    source, initial = some_keypoints(5), some_keypoints(6)
    driving = Keypoints(initial.value + np.array([0.1, -0.2], np.float32), initial.jacobian)
    moved = transfer(source, driving, initial, scale=2.0)
    np.testing.assert_allclose(moved.value - source.value, np.tile([0.2, -0.4], (10, 1)), atol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.6])
def test_movement_scale_is_the_ratio_of_the_faces_sizes(ratio: float) -> None:
    initial = some_keypoints(7)
    source = Keypoints((ratio * initial.value + np.array([0.1, 0.05], np.float32)).astype(np.float32), initial.jacobian)
    assert movement_scale(source, initial) == pytest.approx(ratio, rel=1e-4)


def test_layout_has_distinct_keypoints_and_mirrors_in_pairs(layout: MeshLayout) -> None:
    assert layout.keypoint_count == 20
    assert len(set(layout.names)) == 20
    assert layout.operator.shape == (21, 3, 478)
    assert [layout.mirror[other] for other in layout.mirror] == list(range(20))


def test_unknown_layout_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown mesh layout 'ears'"):
        load_mesh_layout("ears")


def test_mirroring_twice_is_identity(layout: MeshLayout) -> None:
    keypoints = some_keypoints(8, 20)
    twice = mirror_keypoints(mirror_keypoints(keypoints, layout), layout)
    np.testing.assert_array_equal(twice.value, keypoints.value)
    np.testing.assert_array_equal(twice.jacobian, keypoints.jacobian)


@pytest.mark.parametrize("seed", range(4))
def test_affine_motion_of_a_mesh_moves_its_keypoints_alike(layout: MeshLayout, mesh: FloatArray, seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = (np.eye(2) + random.uniform(-0.25, 0.25, (2, 2))).astype(np.float32)
    shift = random.uniform(-0.2, 0.2, 2).astype(np.float32)
    before = keypoints_from_mesh(mesh, layout)
    picture = mesh[:, :2] * 2 - 1  # the affine map acts on [-1, 1]
    moved = mesh.copy()
    moved[:, :2] = (picture @ matrix.T + shift + 1) / 2
    after = keypoints_from_mesh(moved, layout)
    np.testing.assert_allclose(after.value, before.value @ matrix.T + shift, atol=1e-4)
    np.testing.assert_allclose(after.jacobian, matrix @ before.jacobian, atol=1e-3)


def test_keypoints_of_many_meshes_equal_those_of_each(layout: MeshLayout, mesh: FloatArray) -> None:
    meshes = np.stack([mesh, 0.8 * mesh, mesh + np.float32(0.1)])
    together = keypoints_from_mesh(meshes, layout)
    assert together.value.shape == (3, 20, 2)
    assert together.jacobian.shape == (3, 20, 2, 2)
    for index, one in enumerate(meshes):
        alone = keypoints_from_mesh(one, layout)
        np.testing.assert_allclose(together.value[index], alone.value, atol=1e-5)
        np.testing.assert_allclose(together.jacobian[index], alone.jacobian, atol=1e-4)


def test_a_collapsed_cluster_keeps_a_usable_jacobian(layout: MeshLayout, mesh: FloatArray) -> None:
    """A face seen from the side squeezes one eye to nearly nothing: its jacobian must not become singular."""
    squeezed = mesh.copy()
    squeezed[mesh[:, 0] < 0.45, 0] = 0.45
    jacobian = keypoints_from_mesh(squeezed, layout).jacobian
    assert np.all(determinant(jacobian) > 0.1 * np.median(determinant(jacobian)))


def test_smoother_keeps_a_constant() -> None:
    smoother, still = KeypointSmoother(1.0, 5.0), some_keypoints(9)
    for index in range(5):
        smoothed = smoother.smooth(still, index / 25)
        np.testing.assert_allclose(smoothed.value, still.value, atol=1e-6)
        np.testing.assert_allclose(smoothed.jacobian, still.jacobian, atol=1e-6)


def test_smoother_reduces_the_jitter_of_a_still_face() -> None:
    random = np.random.default_rng(0)
    smoother, still = KeypointSmoother(1.0, 5.0), some_keypoints(10)
    noisy = [
        Keypoints(
            still.value + random.normal(0, 0.002, still.value.shape).astype(np.float32),
            still.jacobian + random.normal(0, 0.002, still.jacobian.shape).astype(np.float32),
        )
        for _ in range(60)
    ]
    smooth = [smoother.smooth(keypoints, index / 25) for index, keypoints in enumerate(noisy)]
    for part in range(2):  # value, jacobian
        raw = np.diff(np.stack([keypoints[part] for keypoints in noisy[10:]]), axis=0).std()
        assert np.diff(np.stack([keypoints[part] for keypoints in smooth[10:]]), axis=0).std() < raw / 3


def test_smoother_follows_a_fast_move_at_once() -> None:
    still = some_keypoints(11)
    moved = Keypoints(still.value + np.float32(0.5), still.jacobian)
    smoother = KeypointSmoother(1.0, 60.0)
    smoother.smooth(still, 0.0)
    share = (smoother.smooth(moved, 0.04).value - still.value) / 0.5
    assert np.all(share > 0.85)


def test_smoother_forgets_on_reset() -> None:
    smoother, other = KeypointSmoother(0.5, 0.0), some_keypoints(13)
    smoother.smooth(some_keypoints(12), 0.0)
    smoother.reset()
    np.testing.assert_array_equal(smoother.smooth(other, 0.04).value, other.value)


def test_blending_leads_from_one_to_the_other_and_beyond() -> None:
    first, second = some_keypoints(14), some_keypoints(15)
    for share in (0.0, 0.25, 1.0, 1.5):
        for found, start, end in zip(blend(first, second, share), first, second, strict=True):
            np.testing.assert_allclose(found, (1 - share) * start + share * end, atol=1e-6)
            assert found.dtype == np.float32


def test_the_smoothers_cutoff_can_change_at_any_time() -> None:
    smoother = KeypointSmoother(0.5, 0.0)
    smoother.smooth(some_keypoints(16), 0.0)
    calm = smoother.smooth(some_keypoints(17), 0.04).value
    smoother.min_cutoff_hz = 1e6
    quick = smoother.smooth(some_keypoints(17), 0.08).value
    np.testing.assert_allclose(quick, some_keypoints(17).value, atol=1e-4)
    assert np.abs(calm - some_keypoints(17).value).max() > 0.1
