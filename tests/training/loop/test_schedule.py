"""Stages and learning rate follow the progress of a run."""

import pytest

from avatarify_plus.errors import ConfigError
from training.loop.schedule import Stage, learning_rate, parse_stages, stage_at


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
