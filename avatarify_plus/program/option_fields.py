"""A command line made of the fields of a frozen options class, and the options class made of that command line."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from fractions import Fraction
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from avatarify_plus.errors import ConfigError
from avatarify_plus.types import Size

T = TypeVar("T")

AUTO = "auto"
"""The word that stands for None in options that leave something to the program."""

RATE = re.compile(r"[0-9]{1,9}([./][0-9]{1,9})?")
"""How a rate is written. Fraction takes more, such as 1e999999999, which it would compute."""


def about(
    group: str,
    text: str,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    unset: str | None = None,
    accumulates: bool = False,
    rival: str | None = None,
    has_auto: bool = False,
    persists: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a field that is an option.

    group: the heading that --help lists it under. text: its help. choices: what a string may be, where its type does
    not say. unset: what None means, for the help. accumulates: whether an option with several values may be given
    several times. rival: the name of another field; only one of the two may be given. has_auto: whether the word AUTO
    may be given for None. persists: whether what keys make of the field is kept, see `settings`.
    """
    return {
        "group": group,
        "help": text,
        "metavar": metavar,
        "choices": choices,
        "unset": unset,
        "accumulates": accumulates,
        "rival": rival,
        "has_auto": has_auto,
        "persists": persists,
    }


def add_fields(
    parser: argparse.ArgumentParser,
    kind: type,
    defaults: Mapping[str, Any] | None = None,
    headings: Sequence[str] = (),
    only_given: bool = False,
) -> dict[str, Any]:
    """Add an option for each field of an options class, whose metadata are of `about`.

    defaults: what stands in for the fields' own defaults, by their names. headings: the groups in the order in which
    --help lists them; others follow. only_given: parsing yields only what was given, no defaults. Returns the groups by
    their headings.
    """
    types = get_type_hints(kind)
    used = dict.fromkeys(option.metadata["group"] for option in fields(kind))
    ordered = [*(name for name in headings if name in used), *(name for name in used if name not in headings)]
    groups = {name: parser.add_argument_group(name) for name in ordered}
    rivals: dict[str, Any] = {}
    for option in fields(kind):
        rival = option.metadata["rival"]
        place = groups[option.metadata["group"]]
        if rival is not None:
            names = "/".join(sorted((option.name, rival)))
            place = rivals.setdefault(names, None) or place.add_mutually_exclusive_group()
            rivals[names] = place
        default = (defaults or {}).get(option.name, _default_of(option))
        _add_option(place, option, types[option.name], default, only_given)
    return groups


def read_fields(parser: argparse.ArgumentParser, kind: type[T], options: argparse.Namespace) -> T:
    """Return the options class that a parsed command line describes; end as for wrong usage if a value is wrong."""
    values = {option.name: getattr(options, option.name) for option in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
    except ConfigError as error:
        parser.error(str(error))


def check_choices(options: Any) -> None:
    """Raise ConfigError if a field of an options class has a value that is not one of its choices."""
    types = get_type_hints(type(options))
    for option in fields(options):
        choices = choices_of(option, types[option.name])
        value = getattr(options, option.name)
        if choices and value is not None and value not in choices:
            raise ConfigError(f"{option_name(option.name)} must be one of {', '.join(choices)}, found {value!r}")


def option_name(field_name: str) -> str:
    """Return the option that a field becomes, such as --camera-size for camera_size."""
    return f"--{field_name.replace('_', '-')}"


def choices_of(option: Field[Any], kind: Any) -> tuple[str, ...]:
    """Return what a field may be; nothing if it may be anything of its type."""
    members = [member for member in get_args(kind) if get_origin(member) is Literal] or [kind]
    return option.metadata["choices"] or (get_args(members[0]) if get_origin(members[0]) is Literal else ())


def positive(text: str) -> int:
    """Parse an option that counts something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {value}")
    return value


def parse_number(text: str) -> float:
    """Parse a number, whole or not."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def parse_rate(text: str) -> Fraction:
    """Parse pictures a second, such as 25, 29.97 or 30000/1001."""
    try:
        return Fraction(text if RATE.fullmatch(text) else "")
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate; write it like 25 or 30000/1001") from None


def parse_whole_number(text: str) -> int:
    """Parse a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def parse_size(text: str) -> Size:
    """Parse a width and a height in pixels, such as 1280x720."""
    width, _, height = text.partition("x")
    try:
        return Size(int(width), int(height))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it like 1280x720") from None


PARSERS: dict[Any, Callable[[str], Any]] = {float: parse_number, int: parse_whole_number, Size: parse_size}
"""What parses an option of a type whose own constructor would not say plainly what is wrong."""


def _add_option(place: Any, option: Field[Any], kind: Any, default: Any, only_given: bool) -> None:
    """Add the option of one field to a parser or a group of options."""
    members = [member for member in get_args(kind) if member not in (NoneType, Ellipsis)]
    choices = choices_of(option, kind)
    text = _help_of(option, choices, default)
    if bool in (kind, *members):
        kept = argparse.SUPPRESS if only_given else default
        place.add_argument(option_name(option.name), action=argparse.BooleanOptionalAction, default=kept, help=text)
        return
    is_required, is_tuple = default is MISSING, get_origin(kind) is tuple
    more: dict[str, Any] = {"required": True} if is_required else {"default": list(default) if is_tuple else default}
    if is_tuple:
        more["nargs"] = "+" if is_required or option.metadata["accumulates"] else "*"
    if option.metadata["accumulates"]:
        more["action"] = "extend"
    if only_given and not is_required:
        more["default"] = argparse.SUPPRESS
    member = str if choices else (members[0] if members else kind)
    parse: Callable[[str], Any] = PARSERS.get(member, member)
    if option.metadata["has_auto"]:
        parse = _or_auto(parse)
    metavar = option.metadata["metavar"] or ("NAME" if choices else None)
    place.add_argument(
        option_name(option.name), type=parse, choices=choices or None, metavar=metavar, help=text, **more
    )


def _or_auto(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == AUTO else parse(text)


def _help_of(option: Field[Any], choices: Sequence[str], default: Any) -> str:
    text = option.metadata["help"]
    if choices:
        text += f"; one of {', '.join(choices)}"
    shown = default
    if default is None:
        shown = option.metadata["unset"] or (AUTO if option.metadata["has_auto"] else None)
    if isinstance(shown, bool):
        shown = "yes" if shown else "no"
    if shown not in (MISSING, None, ()):
        text += f" (default: {shown})"
    return text.replace("%", "%%")


def _default_of(option: Field[Any]) -> Any:
    return option.default_factory() if option.default_factory is not MISSING else option.default
