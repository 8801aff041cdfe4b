"""Bit packing as the Larq Compute Engine has it: 32 channels an int32, lowest bit first, 1 for -1."""

from __future__ import annotations

import numpy as np

#: Channels a packed word holds.
WORD = 32


def words(channels: int) -> int:
    """The number of int32 words that hold this many channels."""
    return -(-channels // WORD)


def pack(values: np.ndarray) -> np.ndarray:
    """Packs -1 and +1 along the last axis.

    Args:
        values: Array `(..., channels)` of -1 and +1.

    Returns:
        int32 array `(..., words(channels))`; the bits past the last channel are 0.

    Example:

    >>> pack(np.array([-1, 1, -1, -1]))  # 0b1101
    array([13], dtype=int32)
    """
    missing = words(values.shape[-1]) * WORD - values.shape[-1]
    bits = np.pad(values < 0, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")).view("<i4")


def unpack(packed: np.ndarray, channels: int) -> np.ndarray:
    """Unpacks what `pack` packed: int8 array `(..., channels)` of -1 and +1."""
    values = np.ascontiguousarray(packed.astype("<i4")).view(np.uint8)
    found = np.unpackbits(values, axis=-1, count=channels, bitorder="little")
    return 1 - 2 * found.astype(np.int8)


def pack_integers(values: np.ndarray, bits: int) -> np.ndarray:
    """Packs small integers as TFLite stores int4 and int2: the first one in the lowest bits of a byte.

    Args:
        values: Integers of any shape, each within `bits` bits in two's complement.
        bits: 2 or 4.

    Returns:
        uint8 array of one axis; what is left of the last byte is 0.

    Raises:
        ValueError: If a value does not fit.

    Example:

    >>> pack_integers(np.array([-1, 1, 1]), 4)  # 0x1f, 0x01
    array([31,  1], dtype=uint8)
    """
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    flat = np.asarray(values).reshape(-1)
    if flat.size and not lowest <= flat.min() <= flat.max() <= highest:
        raise ValueError(
            f"Expected integers in [{lowest}, {highest}], which {bits} bits hold. Received: integers in "
            f"[{flat.min()}, {flat.max()}]"
        )
    each = 8 // bits
    fields = np.pad(flat, (0, -flat.size % each)).astype(np.uint8) & (2**bits - 1)
    shifts = (bits * np.arange(each)).astype(np.uint8)
    packed: np.ndarray = np.bitwise_or.reduce(fields.reshape(-1, each) << shifts, axis=1)
    return packed.astype(np.uint8)


def unpack_integers(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpacks what `pack_integers` packed: int8 array of `count` integers.

    Raises:
        ValueError: If there are fewer.
    """
    each = 8 // bits
    if packed.size * each < count:
        raise ValueError(f"Expected {count} integers of {bits} bits. Received: {packed.size} bytes")
    shifts = (bits * np.arange(each)).astype(np.uint8)
    fields = (packed.astype(np.uint8)[:, None] >> shifts) & (2**bits - 1)
    flat = fields.reshape(-1)[:count].astype(np.int8)
    return np.where(flat >= 2 ** (bits - 1), flat - 2**bits, flat).astype(np.int8)
