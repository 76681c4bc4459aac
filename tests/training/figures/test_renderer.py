"""A picture shows what is nearest, from outside, lit from where the light is."""

import numpy as np
import pytest

from avatarify_plus.types import Image
from training.figures.mesh import Mesh, ellipsoid, plain_texture
from training.figures.renderer import Camera, Light, render

SIDE = 40
CAMERA = Camera((0.0, 0.0, 10.0), 2.0)
FRONT = Light(np.array([0.0, 0.0, 1.0]), 0.2)
GREY: Image = np.full((SIDE, SIDE, 3), 100, np.uint8)


def square(z: float, colour: tuple[int, int, int], is_turned: bool = False, is_open: bool = False) -> Mesh:
    points = np.array([(-1, -1, z), (1, -1, z), (1, 1, z), (-1, 1, z)], np.float64)
    faces = np.array([(0, 1, 2), (0, 2, 3)])
    corners = np.array([(0, 1), (1, 1), (1, 0), (0, 0)], np.float64)[faces]
    return Mesh(points, faces[:, ::-1] if is_turned else faces, corners, plain_texture(colour), is_open)


def test_the_nearest_is_seen_in_whatever_order() -> None:
    near, far = square(1, (200, 0, 0)), square(-1, (0, 200, 0))
    for meshes in ([near, far], [far, near]):
        picture = render(meshes, CAMERA, FRONT, GREY)
        assert picture[SIDE // 2, SIDE // 2].tolist() == [200, 0, 0]
    assert picture[0, 0].tolist() == [100, 100, 100] and GREY.min() == 100


def test_it_is_where_the_camera_projects_it() -> None:
    picture = render([square(0, (200, 0, 0))], CAMERA, FRONT, GREY)
    rows, columns = np.nonzero(picture[..., 0] == 200)
    assert (rows.min(), rows.max() + 1) == (columns.min(), columns.max() + 1) == (12, 28)  # 2 of 10 / 2 wide
    places = CAMERA.project(np.array([(-1.0, 1.0, 0.0), (1.0, -1.0, 0.0)]), SIDE)
    assert places.tolist() == [[12, 12, 10], [28, 28, 10]]


def test_backs_are_seen_of_open_surfaces_alone() -> None:
    assert np.array_equal(render([square(0, (200, 0, 0), True)], CAMERA, FRONT, GREY), GREY)
    picture = render([square(0, (200, 0, 0), True, True)], CAMERA, FRONT, GREY)
    assert picture[SIDE // 2, SIDE // 2].tolist() == [200, 0, 0]


def test_textures_lie_as_they_are_and_have_holes() -> None:
    texture = np.zeros((2, 2, 4), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0] = (250, 0, 0, 255), (0, 250, 0, 255), (0, 0, 250, 255)
    picture = render([square(0, (0, 0, 0))._replace(texture=texture)], CAMERA, FRONT, GREY)
    quarters = [picture[row, column].tolist() for row in (16, 24) for column in (16, 24)]
    assert quarters == [[250, 0, 0], [0, 250, 0], [0, 0, 250], [100, 100, 100]]


def test_what_faces_the_light_is_bright() -> None:
    ball = ellipsoid((0, 0, 0), (1.5, 1.5, 1.5), plain_texture((200, 200, 200)), 16)
    left = render([ball], CAMERA, Light(np.array([-1.0, 0.0, 0.0]), 0.25), GREY)[SIDE // 2, :, 0].astype(int)
    assert left[10] > 150 and left[30] == pytest.approx(50, abs=2)


@pytest.mark.parametrize("way", [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_what_is_outside_of_the_picture_is_left_out(way: tuple[int, int]) -> None:
    plate = square(0, (200, 0, 0))
    gone, half = (plate._replace(points=plate.points + np.array([*way, 0]) * far) for far in (9, 3))
    assert np.array_equal(render([gone], CAMERA, FRONT, GREY), GREY)
    rows, columns = np.nonzero(render([half], CAMERA, FRONT, GREY)[..., 0] == 200)
    expected = {-1: (0, 4), 0: (12, 28), 1: (36, 40)}
    assert (columns.min(), columns.max() + 1) == expected[way[0]]
    assert (rows.min(), rows.max() + 1) == expected[-way[1]]
