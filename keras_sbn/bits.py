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
