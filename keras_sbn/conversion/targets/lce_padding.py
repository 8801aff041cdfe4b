"""Where the Larq Compute Engine does not correct a padding of 0, and what the padding adds.

The engine takes it that the window is smaller than the map: where it covers the map and sticks out on
both sides, nothing is corrected (measured). Nor is padding that the engine does not do itself, but a PAD
of bits, which have no 0. There the padding is +1, and a constant for every position makes up for it.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.conversion.geometry import needs_written_padding, pads_with, same_padding, static_shape
from keras_sbn.conversion.registry import Call
from keras_sbn.folding.ops import BinaryConv2D


def _places(call: Call) -> list[tuple[int, np.ndarray]]:
    """For both axes the size of the map, and where on it every tap is, `(positions, taps)`."""
    op, found = call.op, []
    for axis, size in enumerate(static_shape(call.node.input)[1:3]):
        taps, stride, dilation = op.kernel.shape[axis], op.strides[axis], op.dilation_rate[axis]
        before, _ = same_padding(size, taps, stride, dilation)
        starts = stride * np.arange(call.output.shape[axis + 1]) - before
        found.append((size, starts[:, None] + dilation * np.arange(taps)))
    return found


def zeros_count_as_ones(call: Call) -> bool:
    """Whether a convolution is padded with 0, and the engine would take the padding for +1."""
    if not pads_with(call.op, 0.0):
        return False
    for size, places in _places(call):
        first, last = places[:, 0], places[:, -1]
        # The window covers the map on this axis, with padding on one side at least.
        if ((first <= 0) & (last >= size - 1) & (last - first >= size)).any():
            return True
    sizes, positions = static_shape(call.node.input)[1:3], call.output.shape[1:3]
    return needs_written_padding(call.op, sizes, positions)


def sum_over_padding(call: Call, op: BinaryConv2D) -> np.ndarray:
    """The sum of the weights that stand on the padding, at every position: `(height, width, filters)`."""
    by_tap = op.kernel.sum(axis=2, dtype=np.int64)
    inside = [((places >= 0) & (places < size)).astype(int) for size, places in _places(call)]
    return by_tap.sum(axis=(0, 1)) - np.einsum("yi,xj,ijf->yxf", *inside, by_tap)
