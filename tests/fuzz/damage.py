"""Damaged copies of a file, the same for the same seed."""

from __future__ import annotations

import io
import random
import struct
import zipfile

_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 2)


def damaged(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Changes, cuts, moves and mixes bytes in one to six places."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not data:
            break
        _KINDS[rng.randrange(len(_KINDS))](data, rng, others)
    return bytes(data)


def damaged_inside(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Damages one entry of a zip archive, whose checksum is that of the damaged entry."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, damaged(entry, rng, [entry]) if name == chosen else entry)
    return result.getvalue()


def _flip(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """Lengths, offsets, shapes and enumerations of binary formats are numbers at even places."""
    size = rng.choice((2, 4))
    if len(data) >= size:
        at = rng.randrange(0, len(data) - size + 1, rng.choice((1, 2)))
        number = rng.choice(_NUMBERS) & (256**size - 1)
        order = rng.choice("<>")
        data[at : at + size] = struct.pack(order + ("H" if size == 2 else "I"), number)


def _cut(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 4, 64))]


def _repeat(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 64))
    data[at:at] = data[at : at + size]


def _copy(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    """A piece of another file, or of this one."""
    source = rng.choice(others) or data
    start, at, size = rng.randrange(len(source)), rng.randrange(len(data)), rng.choice((4, 16, 256))
    piece = source[start : start + size]
    data[at : at + len(piece)] = piece


def _fill(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.choice((4, 16, 256))
    size = min(size, len(data) - at)
    data[at : at + size] = bytes([rng.choice((0, 255))]) * size


_KINDS = (_flip, _replace, _number, _number, _cut, _remove, _repeat, _copy, _fill)
