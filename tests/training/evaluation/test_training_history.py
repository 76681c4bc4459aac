"""A model's history reads from its first run to its last, whatever a manifest says."""

import re
from typing import Any

import pytest

from training.evaluation.training_history import history

FIRST = {"stages": "128x6:1", "minutes": 43.0, "peak_rate": 0.0005, "perceptual": "none"}
SECOND = {
    "stages": "256x8:1",
    "minutes": 90,
    "peak_rate": 0.0004,
    "loss_weights": ["identity=2"],
    "data": {"clips": 12, "photos": 3},
    "samples": 1234,
    "started_from": {"step": 100, "samples": 600, "training": FIRST},
}


def rows(text: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", text)]


def test_runs_stand_in_their_order_with_the_pairs_of_each() -> None:
    text = history(SECOND)
    assert rows(text)[1:] == [["1", "128x6:1", "43", "0.0005", "600"], ["2", "256x8:1", "90", "0.0004", "1,234"]]
    assert "data: clips 12, photos 3" in text and "identity=2" in text
    assert "perceptual" not in text, "only the last run's losses are told"


def test_a_run_that_says_little_has_dashes() -> None:
    assert rows(history({"minutes": 5}))[1] == ["1", "-", "5", "-", "-"]


@pytest.mark.parametrize(
    "training", [{}, {"data": "imported from a.pth"}, {"started_from": 3}, {"started_from": {"training": [1]}}]
)
def test_without_a_training_there_is_no_table(training: dict[str, Any]) -> None:
    assert history(training) == ""


def test_what_strangers_write_stays_text() -> None:
    text = history({"stages": "<b>", "minutes": True, "data": {"<i>": ["<u>"]}})
    assert "<b>" not in text and "<i>" not in text and "<u>" not in text and "&lt;b&gt;" in text
