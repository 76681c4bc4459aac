"""An adapted model is kept only where clips that it was not trained on say so."""

import re
from typing import Any

import pytest

from avatarify_plus.adapt.verdict import compare, describe, harm_to_others, judge

BEFORE = {
    "l1": 0.02,
    "akd_px": 0.8,
    "aed": 0.2,
    "mouth_l1": 0.03,
    "eye_l1": 0.02,
    "mouth_correlation": 0.95,
    "eye_correlation": 0.9,
}


def scores(**changes: float | None) -> dict[str, Any]:
    """Return what evaluate.py writes of a model that differs from the one before by these factors, or None."""

    def tables(values: dict[str, float | None]) -> list[dict[str, Any]]:
        places = ({"l1", "akd_px", "aed"}, {"mouth_correlation", "eye_correlation"}, {"mouth_l1", "eye_l1"})
        return [{name: value for name, value in values.items() if name in place} for place in places]

    after = {n: None if changes.get(n, 1.0) is None else v * (changes.get(n) or 1.0) for n, v in BEFORE.items()}
    parts = [
        {"ours": new, "compared": {"live-512": old}, "baseline": {}}
        for new, old in zip(tables(after), tables(dict(BEFORE)), strict=True)
    ]
    return parts[0] | {"face": parts[1], "detail": parts[2]}


def test_a_model_that_gained_is_kept() -> None:
    verdict = judge(compare(scores(l1=0.8, mouth_l1=0.7, akd_px=0.9)))
    assert verdict.is_better and not verdict.reasons
    assert [describe(found) for found in verdict.comparisons[:2]] == ["0.02 -> 0.016, -20 %", "0.03 -> 0.021, -30 %"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"l1": 1.0, "mouth_l1": 0.7}, "picture not better"),
        ({"l1": 0.8, "mouth_l1": 1.2}, "mouth not better"),
        ({"l1": 0.8, "mouth_l1": None}, r"mouth not better \(not measured\)"),
        ({"l1": 0.8, "mouth_l1": 0.8, "aed": 1.05}, "identity worse"),
        ({"l1": 0.8, "mouth_l1": 0.8, "eye_correlation": 0.9}, r"eyes follow worse \(0.9 -> 0.81, -0.09\)"),
    ],
)
def test_a_model_that_lost_something_is_not(changes: dict[str, float | None], reason: str) -> None:
    verdict = judge(compare(scores(**changes)))
    assert not verdict.is_better
    assert len(verdict.reasons) == 1
    assert re.match(reason, verdict.why_not)


def test_what_trembles_or_cannot_be_measured_is_no_reason() -> None:
    assert judge(compare(scores(l1=0.9, mouth_l1=0.9, aed=1.005, eye_correlation=0.985))).is_better
    assert judge(compare(scores(l1=0.9, mouth_l1=0.9, eye_correlation=None, aed=None))).is_better


def test_the_worst_of_picture_mouth_and_eyes_is_what_others_lose() -> None:
    assert harm_to_others(compare(scores(l1=0.9, mouth_l1=1.04, eye_l1=1.01))) == pytest.approx(0.04)
