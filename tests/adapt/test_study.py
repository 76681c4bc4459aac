"""The study divides each person's clips and tells means and spreads over people."""

import json
from pathlib import Path

import numpy as np
import pytest

from avatarify_plus.adapt.study import Found, divided, main, people_of, seconds_of, slope_table, slopes_of, table
from avatarify_plus.adapt.verdict import Comparison
from avatarify_plus.errors import DataError
from films import write_film


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six clips of one second of Ann, three of Bob and two of Cid."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 250, 10)]
    for person, count in (("ann", 6), ("bob", 3), ("cid", 2)):
        for number in range(count):
            write_film(folder / f"{person}_{number}.mp4", pictures)
    return folder


def test_people_need_three_clips(clips: Path) -> None:
    assert {name: len(found) for name, found in people_of(clips, []).items()} == {"ann": 6, "bob": 3}
    assert list(people_of(clips, ["bob", "cid"])) == ["bob"]
    with pytest.raises(DataError, match="nobody has 3 clips"):
        people_of(clips, ["cid"])


def test_every_fourth_clip_is_held_back_and_film_is_as_long_as_asked(clips: Path) -> None:
    ann = people_of(clips, [])["ann"]
    assert seconds_of(ann[0]) == pytest.approx(1)
    own, held = divided(ann, 60)
    assert held == [ann[1], ann[5]] and own == [ann[0], *ann[2:5]]
    assert divided(ann, 1.5) == ([ann[0], ann[2]], held)


def test_the_table_has_means_and_spreads() -> None:
    def found(error: float, follows: float) -> tuple[Comparison, ...]:
        return Comparison("mouth", 0.1, error, True), Comparison("follows", 0.9, follows, False)

    nan = float("nan")
    rows = [(30.0, 5.0, [Found(found(0.09, nan), 0.02, True, {}), Found(found(0.07, 0.92), 0.04, False, {})])]
    assert table(rows).splitlines() == [
        "| s of film | min | people | kept | mouth | follows | others |",
        "|---|---|---|---|---|---|---|",
        "| 30 | 5 | 2 | 1 | -20.0 % ± 10.0 | +0.020 ± 0.000 | +3.0 % |",
    ]


def test_slopes_are_those_that_both_models_have(tmp_path: Path) -> None:
    slopes = {"jaw": (0.8, 0.9), "blink": (0.5, 0.4)}
    people = [Found((), 0.0, True, slopes), Found((), 0.0, True, {"jaw": (0.6, 0.6)})]
    assert slope_table([(60.0, 5.0, people), (60.0, 1.0, [Found((), 0.0, True, {})])]).splitlines() == [
        "| 60 s, 5 min | people | before | after | change |",
        "|---|---|---|---|---|",
        "| jaw | 2 | 0.70 | 0.75 | +0.05 ± 0.05 |",
        "| blink | 1 | 0.50 | 0.40 | -0.10 ± 0.00 |",
    ]
    path = tmp_path / "slopes.json"
    assert slopes_of(path) == {}
    rows = {"me: slope": {"jaw": 0.9, "yaw": None}, "me: r": {"jaw": 1.0}, "live-512: slope": {"jaw": 0.8, "yaw": 0.5}}
    path.write_text(json.dumps({"expression": rows}))
    assert slopes_of(path) == {"jaw": (0.8, 0.9)}


def test_nobody_to_adapt_to_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"avatarify: error: nobody has 3 clips in {tmp_path}\n"
