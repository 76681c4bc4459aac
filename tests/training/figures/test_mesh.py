"""Surfaces are closed and face outwards, and Wavefront files give what they hold."""

from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import DataError
from figure_assets import WHITE, write_model
from training.figures.mesh import Mesh, ellipsoid, read_wavefront, tube


def volume(mesh: Mesh) -> float:
    """Return the volume inside of a closed surface that faces outwards."""
    first, second, third = (mesh.points[mesh.faces[:, corner]] for corner in range(3))
    return float((first * np.cross(second, third)).sum() / 6)


def test_ellipsoids_and_tubes_face_outwards() -> None:
    ball = ellipsoid((1, 2, 3), (1, 2, 3), WHITE, 24)
    assert volume(ball) == pytest.approx(4 / 3 * np.pi * 6, rel=0.02)
    for direction in ((0, -4, 0), (4, 0, 0), (0, 4, 1)):  # whichever way it runs
        rod = tube(np.linspace(0, 1, 5)[:, None] * direction, np.full((5, 2), 0.5), WHITE, 48)
        assert volume(rod) == pytest.approx(np.pi / 4 * np.linalg.norm(direction), rel=0.02)


def test_the_middle_of_an_ellipsoids_texture_faces_z() -> None:
    ball = ellipsoid((0, 0, 0), (1, 1, 1), WHITE, 8)
    corners, points = ball.corners.reshape(-1, 2), ball.points[ball.faces].reshape(-1, 3)
    assert points[np.abs(corners - 0.5).sum(1).argmin()] == pytest.approx((0, 0, 1), abs=1e-9)
    assert points[corners[:, 1] == 0] == pytest.approx(np.tile((0, 1, 0), ((corners[:, 1] == 0).sum(), 1)), abs=1e-9)
    assert points[corners[:, 0] == 0.75][:, 0].min() >= 0  # right of the middle is the figure's left


def test_a_wavefront_file_gives_what_it_holds(tmp_path: Path) -> None:
    ball = ellipsoid((1, 2, 3), (1, 2, 3), WHITE, 4)
    found = read_wavefront(write_model(tmp_path / "ball", ball), WHITE)
    np.testing.assert_allclose(found.points, ball.points)
    np.testing.assert_allclose(found.corners, ball.corners)
    assert np.array_equal(found.faces, ball.faces)


def test_faces_of_more_corners_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "square.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1/7 2/2/7 3/3/7 4/4/7\n")
    square = read_wavefront(path, WHITE)
    assert square.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert square.corners[1].tolist() == [[0, 1], [1, 0], [0, 0]]  # textures begin above


@pytest.mark.parametrize(
    "content",
    [
        "",
        "v 0 0 0\nf 1/1 2/2 3/3\n",
        "v 0 0 zero\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "v 0 0\nvt 0 0\nf 1/1 1/1 1/1\n",
    ],
)
def test_what_is_no_mesh_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.obj"
    path.write_text(content)
    with pytest.raises(DataError, match="cannot read the mesh"):
        read_wavefront(path, WHITE)
    with pytest.raises(DataError, match="cannot read the mesh"):
        read_wavefront(tmp_path / "missing.obj", WHITE)
