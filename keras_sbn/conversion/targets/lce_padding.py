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


def _overhang(call: Call) -> list[list[tuple[int, int]]]:
    """For both axes and every position, by how much the window sticks out before and after the map."""
    op, source = call.op, static_shape(call.node.input)
    found = []
    for axis in (0, 1):
        size, positions = source[axis + 1], call.output.shape[axis + 1]
        stride, dilation = op.strides[axis], op.dilation_rate[axis]
        before, _ = same_padding(size, op.kernel.shape[axis], stride, dilation)
        covered = dilation * (op.kernel.shape[axis] - 1) + 1
        starts = [before - position * stride for position in range(positions)]
        found.append([(start, covered - start - size) for start in starts])
    return found


def zeros_count_as_ones(call: Call) -> bool:
    """Whether a convolution is padded with 0, and the engine would take the padding for +1."""
    if not pads_with(call.op, 0.0):
        return False
    # The window covers the map on some axis, with padding on one side at least.
    sticks_out = any(
        min(start, end) >= 0 and max(start, end) > 0 for axis in _overhang(call) for start, end in axis
    )
    sizes, positions = static_shape(call.node.input)[1:3], call.output.shape[1:3]
    return sticks_out or needs_written_padding(call.op, sizes, positions)


def sum_over_padding(call: Call, op: BinaryConv2D) -> np.ndarray:
    """The sum of the weights that stand on the padding, at every position: `(height, width, filters)`."""
    source = static_shape(call.node.input)
    by_tap = op.kernel.sum(axis=2, dtype=np.int64)
    inside = []
    for axis, overhang in enumerate(_overhang(call)):
        size, taps = source[axis + 1], np.arange(op.kernel.shape[axis])
        places = [taps * op.dilation_rate[axis] - start for start, _ in overhang]
        inside.append(np.array([(place >= 0) & (place < size) for place in places], int))
    return by_tap.sum(axis=(0, 1)) - np.einsum("yi,xj,ijf->yxf", *inside, by_tap)
