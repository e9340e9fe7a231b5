"""Mutations of bytes, JSON, CSV and archives, each a function of its generator; kinds of inputs."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

Mutate = Callable[[Random, bytes], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    ``read`` raises nothing, or a `UserError`; what it returns, a text, is counted, such as that an
    input was taken for another one. ``seeds`` are whole inputs, of which ``mutate`` makes others.
    """

    name: str
    weight: float
    seeds: list[bytes]
    read: Callable[[bytes], str | None]
    mutate: Mutate


LARGEST = 1 << 20  # bytes of an input

NUMBERS = ("0", "-1", "00", "1e309", "nan", "inf", "-inf", "1e-320", "1_0", "0x1", "+1", "٣", "2²")
NUMBERS += ("1", "2", "3", "5", "7", "8", "16", "64")
NUMBERS += ("9223372036854775808", "4294967296", "65536", "1" * 400, "9" * 5000, "3.0", "1.", ".5")
"""What stands in place of a number."""

TOKENS = (
    *(":", "-", "/", "|", "+", "~", ",", "=", "[", "]", "{", "}", "(", ")", '"', "'", "\\", "$"),
    *("${x}", "${oc.env:HOME}", "null", "true", "~", "_target_", "*", "%", "!!python/object:os.x"),
    *("\n", "\r\n", "\t", " ", "\0", "\ufeff", "\u2028", "é", "𝟙", "\ud7ff", "&a", "*a", "<b>"),
)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400), 0.5, 1e308, -1e308),
    *(float("nan"), float("inf"), "", "x", "null", "1", "${x}", "\0", "é" * 300, "../" * 20, "nan"),
    *([], [[]], {}, [None], [0, "a"], {"": {}}, {"_target_": "os.system"}, [1.5] * 300),
)
"""What stands in place of a value of JSON."""


def mutated(rng: Random, data: bytes) -> bytes:
    """A few small damages."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = (_deep if rng.random() < 0.002 else rng.choice(_OPERATIONS))(rng, data)
    return data[:LARGEST]


def _slice(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 16, 256)))


def _flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _set(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _insert(rng: Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + rng.randbytes(rng.choice((1, 1, 2, 8))) + data[place:]


def _token(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    end = start if rng.random() < 0.5 else end
    return data[:start] + rng.choice(TOKENS).encode() + data[end:]


def _delete(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    times = rng.choice((1, 1, 2, 8, 1000))
    return data[:end] + data[start:end] * times + data[end:]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _move(rng: Random, data: bytes) -> bytes:
    start, end = _slice(rng, data)
    rest = data[:start] + data[end:]
    place = rng.randint(0, len(rest))
    return rest[:place] + data[start:end] + rest[place:]


def _deep(rng: Random, data: bytes) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + rng.choice((b"[", b'{"a":', b"(", b"- ")) * 20_000 + data[place:]


def _number(rng: Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"\d+", data[:4096]))
    if not found:
        return _token(rng, data)
    start, end = rng.choice(found).span()
    return data[:start] + rng.choice(NUMBERS).encode() + data[end:]


_OPERATIONS: Sequence[Callable[[Random, bytes], bytes]] = (
    *(_flip, _set, _insert, _token, _delete, _repeat, _truncate, _move),
    *(_token, _number, _number),
)


def _odd(rng: Random) -> Any:
    return deepcopy(rng.choice(ODD))


def odd_json(rng: Random, value: Any) -> Any:
    """A value of JSON with one or two parts replaced, removed, added or nested deeply."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(value))
        if not places:
            return _odd(rng)
        inside, key = rng.choice(places)
        what = rng.random()
        if what < 0.15:
            del inside[key]
        elif what < 0.25:
            _add(inside, _odd(rng))
        elif what < 0.3:
            inside[key] = _nested(rng, inside[key])
        else:
            inside[key] = _odd(rng)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, left = [], [value]
    while left:
        inside = left.pop()
        if isinstance(inside, dict | list):
            keys = inside if isinstance(inside, dict) else range(len(inside))
            for key in keys:
                found.append((inside, key))
                left.append(inside[key])
    return found


def _add(inside: Any, value: Any) -> None:
    if isinstance(inside, dict):
        inside["further"] = value
    else:
        inside.append(value)


def _nested(rng: Random, value: Any) -> Any:
    for _ in range(rng.choice((3, 200, 400, 900))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def json_mutated(rng: Random, data: bytes) -> bytes:
    """Half damaged as bytes, half as JSON that may hold anything."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    return text_of(odd_json(rng, json.loads(data)))


def text_of(value: Any) -> bytes:
    """The JSON of a value; what is nested too deeply for Python's writer becomes a number."""
    try:
        return json.dumps(value).encode()
    except RecursionError:
        return b"1"


def csv_mutated(rng: Random, data: bytes) -> bytes:
    """Half damaged as bytes, half by what a cell holds."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(rng.choice((1, 2, 4))):
        row = rng.choice(rows)
        place = rng.randrange(len(row))
        what = rng.random()
        if what < 0.6:
            row[place] = rng.choice((*NUMBERS, *TOKENS, "", "x" * 1000))
        elif what < 0.8:
            row.insert(place, rng.choice(NUMBERS))
        elif len(row) > 1:
            del row[place]
    return "\n".join(",".join(row) for row in rows).encode(errors="replace")


def zip_mutated(rng: Random, data: bytes) -> bytes:
    """Half damaged as bytes, half in a member, with the checksums of the archive right again."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as made:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = archive.read(name)
            if name == chosen:
                content = _header(rng, content) if rng.random() < 0.4 else mutated(rng, content)
            made.writestr(rng.choice(names) if rng.random() < 0.02 else name, content)
    return out.getvalue()


def _header(rng: Random, content: bytes) -> bytes:
    """Another dtype or shape in the header of an .npy; any other content damaged as bytes."""
    if not content.startswith(b"\x93NUMPY"):
        return mutated(rng, content)
    shapes = ("(3,)", "()", "(0,)", "(-1, 2)", "(1000000000, 1000000000)", "(300000000,)", "(1, 1)")
    dtypes = ("'|u1'", "'<f8'", "'|O'", "'<U5'", "[('a', '<i4')]", "'<c16'", "'?'", "'>i8'")
    shape, dtype = rng.choice(shapes), rng.choice(dtypes)
    text = f"{{'descr': {dtype}, 'fortran_order': {rng.random() < 0.5}, 'shape': {shape}, }}"
    header = text.encode().ljust(118)[:117] + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]


def safetensors_mutated(rng: Random, data: bytes) -> bytes:
    """Half damaged as bytes, half in the header, whose length is right again."""
    if rng.random() < 0.4:
        return mutated(rng, data)
    length = int.from_bytes(data[:8], "little")
    header = text_of(odd_json(rng, json.loads(data[8 : 8 + length])))
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def npz_of(**arrays: Any) -> bytes:
    """An archive of arrays."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()
