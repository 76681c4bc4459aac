"""What a run is asked for is checked once, and the command line says what the fields say."""

import re
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from avatarify_plus.errors import ConfigError
from training import benchmark, gpu_recipe, train
from training.config import StepConfig, TrainingConfig

ASKED = TrainingConfig(data=(Path("clips"),), out=Path("run"))


def test_a_command_line_without_options_is_the_defaults() -> None:
    assert train.read_command(["--data", "clips", "--out", "run"]) == (ASKED, False)


def test_every_option_reaches_its_field() -> None:
    command = [
        *("--data", "a", "b", "--val", "c", "--out", "d", "--cache", "e", "--steps", "5", "--fresh", "x", "y"),
        *("--set", "mask_prior=3", "--set", "motion.width=48", "--weight", "pixels=1", "--no-compile"),
        *("--keypoints", "both", "--keypoint-count", "4", "--verbose"),
    ]
    options, is_verbose = train.read_command(command)
    assert is_verbose
    assert options.data == (Path("a"), Path("b")) and options.fresh == ("x", "y")
    assert options.set == ("mask_prior=3", "motion.width=48") and options.weight == ("pixels=1",)
    assert (options.val, options.out, options.cache) == (Path("c"), Path("d"), Path("e"))
    assert (options.steps, options.compile, options.sync_batchnorm) == (5, False, None)
    assert options.network().learned_count == 4 and options.loss_weights().pixels == 1


def test_options_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ASKED.rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"preset": "theirs"}, "--preset must be one of"),
        ({"subject": "cat"}, "--subject must be one of face, body, any"),
        ({"set": ("mask_prior",)}, "FIELD=VALUE"),
        ({"minutes": 0}, "--minutes must be above 0"),
        ({"save_minutes": -1}, "--save-minutes must not be negative"),
        ({"perceptual_scales": 0}, "--perceptual-scales must be from 1 to 4, found 0"),
        ({"mesh_warmup": 3}, "--mesh-warmup needs --keypoints learned"),
        ({"subject": "any", "weight": ("identity=1",)}, "goes without a face mesh"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        replace(ASKED, **change)


def test_minutes_and_steps_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.read_command(["--data", "clips", "--out", "run", "--steps", "5", "--minutes", "5"])
    assert "not allowed with" in capsys.readouterr().err


def test_the_help_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    for main, options in ((["train"], TrainingConfig), ([], StepConfig)):
        with pytest.raises(SystemExit):
            (gpu_recipe.main if main else benchmark.main)([*main, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert all(re.search(rf"--{option.name.replace('_', '-')}[ ,]", shown) for option in fields(options))
    assert "the hardest of 8 (default: 0.7)" in shown and "40 % longer)" in shown
