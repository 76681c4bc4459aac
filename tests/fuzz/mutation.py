"""Changes by chance to files: of any bytes, and of a form that readers look behind (JSON, lines, zip, PNG, protobuf).

Changed bytes seldom get beyond the first check of a reader: braces no longer match, a checksum is wrong. What is
changed in its form is still JSON, or a zip file with right checksums, and says something odd.
"""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Change = Callable[[bytes, random.Random], bytes]
"""Returns a changed file; by the same seed the same."""

WORDS = (
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"-1",
    b"1e999",
    b"null",
    b"[",
    b"{",
    b'"',
    b"\n",
    b"../",
)
"""What is put into files besides chance: limits of numbers, and what has a meaning in texts."""

ODD_JSON = (
    *("null", "true", "false", "0", "-1", "0.5", "1e-400", "1e999", "NaN", "-Infinity", "-0.0", "9" * 5000, "1e15"),
    *("2147483648", "18446744073709551616", "[]", "{}", "[1, 2]", '{"a": 1}', '[["a", 1]]', '{"": {"": []}}'),
    *('""', '"a"', '"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"a\\nb"', '"../a"', '"/"', '"1"', '"NaN"'),
    *(f'"{"a" * 100_000}"', "[" * 200 + "]" * 200, "[" * 100_000 + "]" * 100_000, '{"a":' * 900 + "1" + "}" * 900),
)
"""Values that a reader of JSON should have thought of: other types, limits, what lies deep."""

ODD_TEXTS = (
    *("", " ", "-1", "0", "1", "0.5", "1e999", "-inf", "nan", "1e-400", "9" * 5000, "null", "~", "true", "none"),
    *("[", "]", "[1, 2, 3]", "[[1]]", "{", "'", '"', "\t", ":", ",", ";", "=", "a: b", "a=b", "a,b", "#", "- a", "x"),
    *("..", "../a", "/", "\\", "a" * 10_000, "\x1b[31m", "\u2028", "\ufeff", "٣", "½", "²", "1/0", "0x10", "1_000"),
    *("auto", "64x64", "1x", "1e5", "--", "--help", "-", "\ud800", "\r", "0:1"),
)
"""The same for texts."""

SEPARATORS = re.compile(r"([:=,;\s/x.]+)")
"""What parts of a line are divided by."""

PNG = b"\x89PNG\r\n\x1a\n"
MAX_VARINT_BYTES = 10


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return a file with some changes: bits turned, bytes replaced, parts cut, doubled, moved, words put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8, 32))):
        if not changed:
            break
        # Headers decide most, so half of the changes are there.
        end = len(changed) if chance.random() < 0.5 else min(len(changed), 256)
        at = chance.randrange(end)
        length = min(chance.choice((1, 2, 4, 16, 64)), len(changed) - at)
        kind = chance.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            word = chance.choice(WORDS)
            changed[at : at + len(word)] = word
        else:
            other = chance.randrange(len(changed))
            changed[at : at + length] = changed[other : other + length]
    return bytes(changed)


def changed_tree(tree: Any, chance: random.Random, odd: Callable[[], Any]) -> Any:
    """Return a copy of nested dictionaries and lists with one change: a value replaced by an odd one, a name by
    another, something left out, put in or put elsewhere.
    """
    holder = [_copied(tree)]
    places: list[tuple[Any, Any]] = [(holder, 0)]
    # Each step down is as likely as any other, so that few values near the root are changed as often as many below.
    while chance.random() < 0.8:
        parent, key = places[-1]
        inner = parent[key]
        if not (isinstance(inner, (dict, list)) and inner):
            break
        places.append((inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))))
    parent, key = places[-1]
    kind = chance.randrange(8)
    if kind == 0 and parent is not holder:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[chance.choice((*parent, "", "a", f"{key}s", "__class__"))] = parent.pop(key)
    elif kind == 2 and isinstance(parent[key], dict):
        parent[key][chance.choice(("", "a", *parent[key]))] = odd()
    elif kind == 3 and isinstance(parent[key], list):
        parent[key] = parent[key] * chance.choice((0, 2, 1000))
    elif kind == 4:
        parent[key] = [parent[key]]
    elif kind == 5 and isinstance(parent[key], (int, float)) and not isinstance(parent[key], bool):
        parent[key] = chance.choice((-parent[key], parent[key] + 1, parent[key] * 1000, str(parent[key])))
    else:
        parent[key] = odd()
    return holder[0]


def _copied(tree: Any) -> Any:
    """Return new dictionaries and lists around the same values."""
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def changed_json(data: bytes, chance: random.Random) -> bytes:
    """Return JSON with one to four changes that is JSON, or nearly: NaN and huge numbers are among them."""
    odd: list[str] = []

    def marked() -> str:
        odd.append(chance.choice(ODD_JSON))
        return f"odd value {len(odd) - 1}"

    try:
        tree = json.loads(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            tree = changed_tree(tree, chance, marked)
        text = json.dumps(tree)
    except (ValueError, RecursionError):  # it was changed so before
        return mutated(data, chance)
    for number, value in enumerate(odd):
        text = text.replace(f'"odd value {number}"', value)
    return text.encode("utf-8", "surrogatepass")


def changed_lines(data: bytes, chance: random.Random) -> bytes:
    """Return a text with one to four changes to its lines: a part replaced, a line doubled, moved, indented."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(lines))
        parts = SEPARATORS.split(lines[at])
        kind = chance.randrange(8)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(chance.randrange(len(lines)), lines[at])
        elif kind == 2:
            lines[at] = " " * chance.choice((1, 2, 8, 100)) + lines[at].lstrip()
        elif kind == 3:
            lines[at] = chance.choice(ODD_TEXTS)
        elif kind == 4:
            lines[at] += chance.choice(ODD_TEXTS)
        else:
            parts[chance.randrange(len(parts))] = chance.choice(ODD_TEXTS)
            lines[at] = "".join(parts)
    return "\n".join(lines).encode("utf-8", "surrogatepass" if chance.random() < 0.1 else "replace")


def changed_zip(data: bytes, chance: random.Random) -> bytes:
    """Return a zip file in which one file is changed, renamed, doubled, left out or packed, with right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [(entry, archive.read(entry)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return mutated(data, chance)
    if not files:
        return mutated(data, chance)
    at = chance.randrange(len(files))
    entry, content = files[at]
    kind = chance.randrange(8)
    if kind == 0:
        del files[at]
    elif kind == 1:
        others = (other.filename for other, _ in files)
        entry.filename = chance.choice(("a", "../a", "/a", "a/", "", "a" * 300, entry.filename.upper(), *others))
    elif kind == 2:
        files.append((copy.copy(entry), content))
    elif kind == 3:
        entry.compress_type = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif kind == 4:
        files[at] = (entry, bytes(chance.choice((0, 1, 1 << 20))))
    else:
        change = changed_json if entry.filename.endswith(".json") else mutated
        files[at] = (entry, change(content, chance))
    changed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(changed, "w") as archive:
        warnings.simplefilter("ignore")  # that two files have one name
        for entry, content in files:
            archive.writestr(entry, content, entry.compress_type)
    return changed.getvalue()


def changed_png(data: bytes, chance: random.Random) -> bytes:
    """Return a PNG in which one chunk is changed, doubled, left out or moved, with right checksums; else any change."""
    if not data.startswith(PNG):
        return mutated(data, chance)
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return mutated(data, chance)
    at = chance.randrange(len(chunks))
    kind, content = chunks[at]
    change = chance.randrange(6)
    if change == 0:
        del chunks[at]
    elif change == 1:
        chunks.insert(chance.randrange(len(chunks)), chunks[at])
    elif change == 2:
        chunks[at] = (chance.choice((b"eXIf", b"iCCP", b"tRNS", b"PLTE", b"acTL", b"iTXt", b"gAMA")), content)
    else:
        chunks[at] = (kind, mutated(content, chance))
    body = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    return PNG + b"".join(body)


def changed_message(data: bytes, chance: random.Random) -> bytes:
    """Return a protobuf message in which one field is changed, doubled or left out, with right lengths around it."""
    fields = _fields(data)
    if not fields:
        return mutated(data, chance)
    at = chance.randrange(len(fields))
    number, wire, content = fields[at]
    kind = chance.randrange(10)
    if kind == 0:
        del fields[at]
    elif kind == 1:
        fields.append(fields[chance.randrange(len(fields))])
    elif kind == 2:
        fields[at] = (chance.choice((1, 2, 7, 15, 100, 1 << 28)), wire, content)
    elif isinstance(content, int):
        fields[at] = (number, wire, chance.choice((0, 1, 16, 1 << 31, 1 << 40, (1 << 64) - 1, content + 1)))
    elif kind == 3:
        fields[at] = (number, 0, chance.choice((0, 1, (1 << 64) - 1)))
    else:
        fields[at] = (number, wire, changed_message(content, chance))
    return b"".join(_field(*field) for field in fields)


def _fields(data: bytes) -> list[tuple[int, int, int | bytes]] | None:
    """Return a message's fields by number and wire type; None if it is none."""
    found: list[tuple[int, int, int | bytes]] = []
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            number, wire = tag >> 3, tag & 7
            if not number or wire not in (0, 1, 2, 5):
                return None
            if wire == 0:
                value, at = _varint(data, at)
                found.append((number, wire, value))
                continue
            length, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            if at + length > len(data):
                return None
            found.append((number, wire, data[at : at + length]))
            at += length
    except IndexError:
        return None
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(MAX_VARINT_BYTES):
        value |= (data[at + place] & 127) << 7 * place
        if data[at + place] < 128:
            return value, at + place + 1
    raise IndexError


def _as_varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _field(number: int, wire: int, content: int | bytes) -> bytes:
    tag = _as_varint(number << 3 | wire)
    if isinstance(content, int):
        return tag + _as_varint(content)
    return tag + (_as_varint(len(content)) if wire == 2 else b"") + content


def changed_header(data: bytes, chance: random.Random) -> bytes:
    """Return a safetensors file whose header of JSON is changed, with its right length before it."""
    if len(data) < 8:
        return mutated(data, chance)
    end = 8 + int.from_bytes(data[:8], "little")
    header = changed_json(data[8:end], chance)
    return len(header).to_bytes(8, "little") + header + data[end:]


def either(changes: Sequence[Change]) -> Change:
    """Return a change that is one of several by chance."""
    return lambda data, chance: chance.choice(changes)(data, chance)
