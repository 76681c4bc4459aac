"""FIELD=VALUE on the command line: changes to the fields of a frozen options class, parsed by the fields' types."""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from avatarify_plus.errors import ConfigError

T = TypeVar("T")


def apply_overrides(options: T, changes: Sequence[str], flag: str) -> T:
    """Return the options with changes such as "mask_prior=4", "motion.width=48" or "occlusion_widths=16,8".

    Raises ConfigError naming `flag` for a malformed change, an unknown field or a value of the wrong type.
    """
    nested: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    hints = get_type_hints(type(options))
    for change in changes:
        name, equals, text = change.partition("=")
        head, dot, rest = name.partition(".")
        if not equals:
            raise ConfigError(f"{flag} wants FIELD=VALUE, found {change!r}")
        if head not in hints or bool(dot) != is_dataclass(hints[head]):
            known = ", ".join(f"{f.name}.*" if is_dataclass(hints[f.name]) else f.name for f in fields(options))  # type: ignore[arg-type]
            raise ConfigError(f"{flag} knows no field {name!r}: choose one of {known}")
        if dot:
            nested.setdefault(head, []).append(f"{rest}={text}")
        else:
            values[head] = _read(hints[head], text, f"{flag} {name}")
    for head, inner in nested.items():
        values[head] = apply_overrides(getattr(options, head), inner, f"{flag} {head}")
    return replace(options, **values)  # type: ignore[type-var]


def _read(kind: Any, text: str, what: str) -> Any:
    """Read a value of a field's type from text. Raises ConfigError."""
    try:
        if get_origin(kind) is Literal:
            if text not in get_args(kind):
                raise ValueError(f"not one of {', '.join(get_args(kind))}")
            return text
        if get_origin(kind) is tuple:
            kinds, parts = get_args(kind), text.split(",")
            if len(kinds) != len(parts):
                raise ValueError(f"{len(kinds)} values are needed")
            return tuple(_read(inner, part, what) for inner, part in zip(kinds, parts, strict=True))
        if get_origin(kind) in (Union, types.UnionType):
            return None if text == "none" else _read(get_args(kind)[0], text, what)
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError("not finite")
        return value
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{what} wants a value of type {getattr(kind, '__name__', kind)}, found {text!r}") from error
