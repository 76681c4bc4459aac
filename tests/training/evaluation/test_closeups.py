"""Close-ups are of each trial's extreme frame, and of no person more than a few."""

import numpy as np
import pytest

from avatarify_plus.types import FloatArray
from fakes import plain_picture
from training.evaluation.closeups import (
    CLOSEUP_PX,
    MAX_CLOSEUPS,
    Closeup,
    KeptCloseups,
    closeup_rows,
    cut_face,
    most_extreme,
)


def changed(face: FloatArray, gap_px: float = 1, eyes: float = 1.0, aside: float = 0.0) -> FloatArray:
    """Return the mesh with other openings, eyes as a share of their own, and another look."""
    mesh = face.copy()
    mesh[14] = mesh[13] + np.array([0, gap_px / 256, 0], np.float32)
    for upper, lower in ((160, 144), (159, 145), (158, 153), (385, 380), (386, 374), (387, 373)):
        mesh[upper] = mesh[lower] + eyes * (face[upper] - face[lower])
    for iris, (first, second) in ((468, (33, 133)), (473, (362, 263))):
        mesh[iris] = (mesh[first] + mesh[second]) / 2 + aside / 2 * (mesh[second] - mesh[first])
    return mesh


def closeup(trial: str, person: str, extent: float) -> Closeup:
    picture = plain_picture(0, 8, 8)
    return Closeup(trial, person, 0, extent, picture, picture, (picture,))


def test_the_extreme_frames_are_kept(face: FloatArray) -> None:
    kept = KeptCloseups("a_1", "a", plain_picture(200, 64, 64), None)
    meshes = [
        changed(face),
        changed(face, gap_px=12),
        changed(face, gap_px=20),
        changed(face, eyes=0.2),
        changed(face, aside=-0.5),
        changed(face, eyes=0.1, aside=0.9),  # the mesh guesses the irises of closed eyes
        changed(face),
    ]
    for index, mesh in enumerate(meshes):
        driving, predictions = plain_picture(index, 64, 64), [plain_picture(100 + index, 64, 64)]
        kept.look(index, mesh, (driving, mesh), [(picture, None) for picture in predictions])
    found = kept.finish()
    assert {kind: c.index for kind, c in found.items()} == {"open-mouths": 2, "looks-aside": 4, "closed-eyes": 5}
    assert found["open-mouths"].extent == pytest.approx(20, rel=1e-4)
    assert found["looks-aside"].extent == pytest.approx(0.5, rel=1e-4)
    assert found["closed-eyes"].extent == pytest.approx(0.9, rel=1e-3)
    (row,) = closeup_rows([found["open-mouths"]])
    assert [int(picture.mean()) for picture in row] == [200, 2, 102]
    assert all(picture.shape == (CLOSEUP_PX, CLOSEUP_PX, 3) for picture in row)


def test_a_face_at_rest_gives_none(face: FloatArray) -> None:
    kept = KeptCloseups("a_1", "a", plain_picture(200, 64, 64), face)
    assert kept.finish() == {}
    for index in range(5):
        kept.look(index, changed(face), (plain_picture(0, 64, 64), face), [])
    assert kept.finish() == {}


def test_the_cut_follows_the_face(face: FloatArray) -> None:
    picture = plain_picture(0, 256, 256)
    low, high = (np.rint(256 * edge(face[:, :2], axis=0)).astype(int) for edge in (np.min, np.max))
    picture[low[1] : high[1], low[0] : high[0]] = 255
    cut = cut_face(picture, face)
    assert cut[20:-20, CLOSEUP_PX // 2].mean() > 200 and cut[:, :8].max() == 0
    assert (cut > 127).mean() > 2 * (picture > 127).mean()


def test_the_farthest_are_shown_two_of_a_person_in_any_order() -> None:
    closeups = [closeup(f"{person}_{n}", person, 10 * n + ord(person) % 7) for person in "abcdefgh" for n in range(4)]
    chosen = most_extreme(closeups)
    assert len(chosen) == MAX_CLOSEUPS
    assert [c.extent for c in chosen] == sorted((c.extent for c in chosen), reverse=True)
    assert max(sum(c.person == person for c in chosen) for person in "abcdefgh") <= 2
    one_by_one: list[Closeup] = []
    for index in np.random.default_rng(0).permutation(len(closeups)):
        one_by_one = most_extreme([*one_by_one, closeups[index]])
    assert one_by_one == chosen
    only = [closeup(f"a_{n}", "a", n) for n in range(5)]
    assert [c.trial for c in most_extreme(only)] == ["a_4", "a_3"]
