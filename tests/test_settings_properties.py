"""What holds for settings, whatever was kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarify_plus import settings
from avatarify_plus.config import RANGES, AppConfig
from properties import REPEATABLE

DEFAULTS = {name: AppConfig.__dataclass_fields__[name].default for name in settings.persistent_fields()}
NAMES = st.sampled_from(sorted(DEFAULTS))

KEPT = st.fixed_dictionaries(
    {},
    optional={
        name: st.booleans() if isinstance(value, bool) else st.floats(*RANGES[name]) for name, value in DEFAULTS.items()
    },
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner),
    max_leaves=20,
)


def write(content: bytes) -> None:
    settings.path().parent.mkdir(parents=True, exist_ok=True)
    settings.path().write_bytes(content)


@REPEATABLE
@given(KEPT, KEPT)
def test_what_is_kept_comes_back(first: dict[str, Any], second: dict[str, Any]) -> None:
    settings.path().unlink(missing_ok=True)
    settings.save(first)
    assert DEFAULTS | settings.load() == DEFAULTS | first
    settings.save(second)
    assert DEFAULTS | settings.load() == DEFAULTS | first | second
    assert all(type(value) is type(DEFAULTS[name]) for name, value in settings.load().items())


FILES = (
    st.dictionaries(NAMES, st.integers(-3, 5) | st.floats() | st.booleans() | JSON, min_size=1, max_size=6)
    | st.dictionaries(NAMES, st.integers(-1, 1) | st.floats(-10, 10), min_size=1, max_size=6)
    | JSON
).map(lambda value: json.dumps(value).encode())


@REPEATABLE
@given(FILES | st.binary())
def test_any_file_gives_settings_that_the_app_takes(content: bytes) -> None:
    write(content)
    config = AppConfig(avatar=(Path("a.png"),), **settings.load())
    settings.save({"zoom": 1.5})
    assert settings.load()["zoom"] == 1.5
    assert all(low <= getattr(config, name) <= high for name, (low, high) in RANGES.items() if name in DEFAULTS)
    assert all(type(getattr(config, name)) is type(value) for name, value in DEFAULTS.items())


def test_only_what_persists_can_be_kept() -> None:
    with pytest.raises(ValueError, match="only fields that persist"):
        settings.save({"model": "live-256"})
