"""How much of a driver's expression arrives."""

import math
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.errors import ConfigError
from training.evaluation.expression_tracker import (
    MIN_FRAMES,
    Expression,
    ExpressionTracker,
    _angles,
    _channels,
    find_model,
    pooled,
    sums_of,
)

FRAMES = 4 * MIN_FRAMES


def performance(amount: float, offset: float = 0.0) -> list[Expression]:
    """Return a face that opens its jaw and turns, by an amount."""
    wave = [amount * math.sin(index / 3) for index in range(FRAMES)]
    return [Expression(offset + 0.2 * value, *(8 * [0.0]), 5 * value, 0.0)._replace(yaw=10 * value) for value in wave]


def test_all_that_is_done_arrives_wherever_it_starts() -> None:
    slope, r = pooled([sums_of(performance(1), performance(1, offset=0.3))])
    for value in (slope.jaw, slope.yaw, r.jaw, r.yaw):
        assert value == pytest.approx(1)
    assert math.isnan(slope.smile) and math.isnan(r.smile)  # nobody smiled


def test_half_arrives_and_a_still_face_shows_nothing() -> None:
    slope, r = pooled([sums_of(performance(1), performance(0.5)), sums_of(performance(0.5), performance(0.25))])
    assert slope.jaw == pytest.approx(0.5) and r.jaw == pytest.approx(1)
    slope, r = pooled([sums_of(performance(1), performance(0))])
    assert slope.jaw == 0 and r.jaw == 0


def test_pairs_are_pooled_by_how_much_their_drivers_do() -> None:
    strong, weak = sums_of(performance(1), performance(1)), sums_of(performance(0.5), performance(0))
    assert pooled([strong, weak])[0].jaw == pytest.approx(1 / 1.25)


def test_lost_faces_and_short_clips_say_nothing() -> None:
    shown: list[Expression | None] = list(performance(1))
    shown[::2] = [None] * len(shown[::2])
    assert pooled([sums_of(performance(1), shown)])[0].jaw == pytest.approx(1)
    shown[MIN_FRAMES:] = [None] * (FRAMES - MIN_FRAMES)
    assert math.isnan(pooled([sums_of(performance(1), shown)])[0].jaw)


def test_channels_are_means_and_differences_of_blendshapes() -> None:
    sides = [
        f"{name}{side}"
        for name in ("eyeLookOut", "eyeLookIn", "eyeLookUp", "eyeLookDown")
        for side in ("Left", "Right")
    ]
    others = ["eyeBlink", "browOuterUp", "mouthSmile", "mouthPress"]
    names = [*sides, *(name + side for name in others for side in ("Left", "Right"))]
    names += ["jawOpen", "browInnerUp", "mouthPucker", "mouthFunnel", "mouthRollLower", "mouthRollUpper"]
    scores = dict.fromkeys(names, 0.0) | {"jawOpen": 0.4, "eyeBlinkLeft": 1.0}
    scores |= {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6, "eyeLookDownLeft": 0.2, "eyeLookDownRight": 0.2}
    found = _channels(scores)
    assert found["jaw"] == pytest.approx(0.4) and found["blink"] == pytest.approx(0.5)
    assert found["gaze_h"] == pytest.approx(0.6) and found["gaze_v"] == pytest.approx(-0.2)


def test_a_pose_gives_its_angles() -> None:
    angle = math.radians(20)
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    found = _angles(turn)
    assert found["yaw"] == pytest.approx(20) and found["pitch"] == pytest.approx(0) == pytest.approx(found["roll"])


def test_a_file_that_is_no_model_is_refused_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    for content in (None, b"no model"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match="is no face landmarker") as caught:
            ExpressionTracker(path)
        assert "\n" not in str(caught.value)
    assert find_model(path) == path
