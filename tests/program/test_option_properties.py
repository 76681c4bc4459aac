"""What holds for the app's command line, whatever is written there."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from avatarify_plus.app import build_parser, config_of
from avatarify_plus.config import FILM_SUFFIXES, RANGES, AppConfig
from avatarify_plus.errors import ConfigError
from avatarify_plus.program.command_line import USAGE
from avatarify_plus.program.option_fields import AUTO, choices_of, option_name, parse_rate
from avatarify_plus.types import Size
from properties import REPEATABLE

TYPES = get_type_hints(AppConfig)
OPTIONS = {option.name: option for option in fields(AppConfig)}
PARSER = build_parser()

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
SIZES = st.builds(
    Size, st.integers(32, 3840).map(lambda side: 2 * side), st.integers(32, 3840).map(lambda side: 2 * side)
)


def values_of(option: Field[Any]) -> st.SearchStrategy[Any]:
    """Return the values that an option may have."""
    kind = TYPES[option.name]
    members = [member for member in get_args(kind) if member not in (type(None), Ellipsis)] or [kind]
    own: st.SearchStrategy[Any]
    if choices := choices_of(option, kind):
        own = st.sampled_from(choices)
    elif bool in members:
        own = st.booleans()
    elif Size in members:
        own = SIZES
    elif option.name == "movement_scale":
        own = st.floats(0, 10, exclude_min=True)
    elif float in members:
        own = st.floats(*RANGES[option.name])
    elif int in members:
        own = st.integers(*map(int, RANGES[option.name]))
    elif option.name == "output":
        own = st.builds(lambda name, suffix: Path(f"{name}{suffix}"), NAMES, st.sampled_from(FILM_SUFFIXES))
    elif option.name == "avatar":
        own = st.lists(NAMES.map(Path), min_size=1, max_size=3).map(tuple)
    else:
        own = NAMES.map(Path) if Path in members else NAMES
    return own | st.none() if option.metadata["has_auto"] else own


def written(name: str, value: Any) -> list[str]:
    """Return an option with a value as it is written on a command line."""
    if isinstance(value, bool):
        return [option_name(name) if value else option_name(name).replace("--", "--no-", 1)]
    if isinstance(value, tuple) and not isinstance(value, Size):
        return [option_name(name), *map(str, value)]
    return [f"{option_name(name)}={AUTO if value is None else value}"]


def usage_error(call: Callable[[], object]) -> str:
    """Return what a program says that ends as for wrong usage, nothing if it goes on."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            call()
    except SystemExit as end:
        assert end.code == USAGE
        assert said.getvalue().endswith("\n") and said.getvalue()[:-1].isprintable(), ascii(said.getvalue())
        return said.getvalue()
    assert not said.getvalue()
    return ""


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw values of some options."""
    names = draw(st.sets(st.sampled_from(sorted(OPTIONS)), max_size=8)) | {"avatar"}
    return {name: draw(values_of(OPTIONS[name])) for name in sorted(names)}


@REPEATABLE
@given(wishes())
def test_what_is_written_is_what_is_read(wish: dict[str, Any]) -> None:
    # A name that begins with a dash is an option; as everywhere, ./-name is not.
    wish["avatar"] = tuple(Path("folder") / path for path in wish["avatar"])
    words = [word for name, value in wish.items() for word in written(name, value)]
    given_options = vars(PARSER.parse_args(words))
    assert {**given_options, "avatar": tuple(given_options["avatar"])} == wish
    with contextlib.suppress(ConfigError):  # nothing is left to send to
        config = config_of(given_options)
        assert {name: getattr(config, name) for name in wish} == wish


def test_defaults_are_written_as_they_are_read() -> None:
    for name, option in OPTIONS.items():
        if option.default not in (MISSING, None):
            words = ["--avatar", "a.png", *written(name, option.default)]
            assert vars(PARSER.parse_args(words))[name] == option.default


@REPEATABLE
@given(st.sampled_from(sorted(OPTIONS)), st.text() | st.from_regex(r"[-+0-9a-fxX./: _]+", fullmatch=True))
def test_any_text_is_a_value_or_a_usage_error_in_one_line(name: str, text: str) -> None:
    def parse() -> None:
        given_options = vars(PARSER.parse_args(["--avatar", "a.png", f"{option_name(name)}={text}"]))
        try:
            config_of(given_options)
        except ConfigError as error:
            PARSER.error(str(error))

    said = usage_error(parse)
    assert not said or said.startswith("avatarify: error: ")


@REPEATABLE
@given(st.lists(st.text(), max_size=5))
def test_any_words_are_read_or_refused_in_one_line(words: list[str]) -> None:
    usage_error(lambda: PARSER.parse_args(["--avatar", "a.png", "--", *words]))


@REPEATABLE
@given(st.fractions(0, 1000, max_denominator=1001))
def test_a_rate_is_read_as_it_is_written(rate: Any) -> None:
    assert parse_rate(str(rate)) == rate
