"""A command line made of the fields of a frozen options class, and the options class made of that command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from avatarify_plus.errors import ConfigError

T = TypeVar("T")


def about(
    group: str,
    text: str,
    metavar: str | None = None,
    choices: tuple[str, ...] = (),
    unset: str | None = None,
    accumulates: bool = False,
    rival: str | None = None,
) -> dict[str, Any]:
    """Return the metadata of a field that is an option.

    group: the heading that --help lists it under. text: its help. choices: what a string may be, where its type does
    not say. unset: what None means, for the help. accumulates: whether an option with several values may be given
    several times. rival: the name of another field; only one of the two may be given.
    """
    return {
        "group": group,
        "help": text,
        "metavar": metavar,
        "choices": choices,
        "unset": unset,
        "accumulates": accumulates,
        "rival": rival,
    }


def add_fields(
    parser: argparse.ArgumentParser,
    kind: type,
    defaults: Mapping[str, Any] | None = None,
    headings: Sequence[str] = (),
) -> None:
    """Add an option for each field of an options class, whose metadata are of `about`.

    defaults: what stands in for the fields' own defaults, by their names. headings: the groups in the order in which
    --help lists them; others follow.
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
        _add_option(place, option, types[option.name], default)


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
            raise ConfigError(f"{_flag(option)} must be one of {', '.join(choices)}, found {value!r}")


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


def _add_option(place: Any, option: Field[Any], kind: Any, default: Any) -> None:
    """Add the option of one field to a parser or a group of options."""
    members = [member for member in get_args(kind) if member is not NoneType]
    choices = choices_of(option, kind)
    text = _help_of(option, choices, default)
    if bool in (kind, *members):
        place.add_argument(_flag(option), action=argparse.BooleanOptionalAction, default=default, help=text)
        return
    is_required, is_tuple = default is MISSING, get_origin(kind) is tuple
    more: dict[str, Any] = {"required": True} if is_required else {"default": list(default) if is_tuple else default}
    if is_tuple:
        more["nargs"] = "+" if is_required or option.metadata["accumulates"] else "*"
    if option.metadata["accumulates"]:
        more["action"] = "extend"
    parse: Callable[[str], Any] = str if choices else (members[0] if members else kind)
    metavar = option.metadata["metavar"] or ("NAME" if choices else None)
    place.add_argument(_flag(option), type=parse, choices=choices or None, metavar=metavar, help=text, **more)


def _help_of(option: Field[Any], choices: Sequence[str], default: Any) -> str:
    text = option.metadata["help"]
    if choices:
        text += f"; one of {', '.join(choices)}"
    shown = option.metadata["unset"] if default is None else default
    if shown not in (MISSING, None, ()):
        text += f" (default: {shown})"
    return text.replace("%", "%%")


def _flag(option: Field[Any]) -> str:
    return f"--{option.name.replace('_', '-')}"


def _default_of(option: Field[Any]) -> Any:
    return option.default_factory() if option.default_factory is not MISSING else option.default
