"""Padding that an operator does not do itself, and what it does not read cut off.

Where the padding is what the tensor stores as 0, or as its zero point, a PAD is enough. The fold can
leave a convolution that pads some input channels with +1 and others with -1, where it moved the sign of a
channel from before a pool into the kernel. No padding operator has a value a channel, but a concatenation
has: constant rows go above and below, constant columns left and right. A convolution whose last positions
no pool reads (`passes.crop_unused_outputs`) gets less behind its input, or a SLICE of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.geometry import Margins, cropped_margins, needs_written_padding, window_of
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.registry import Call
from keras_sbn.folding.ops import BinaryConv

#: From values `(..., channels)` to what a target stores for them.
Stored = Callable[[np.ndarray], np.ndarray]


def padded(call: Call, x: Tensor, margins: Margins, value: np.ndarray | None = None) -> Tensor:
    """Emits a padding of one value, as the tensor stores it; by default of what it stores as 0."""
    if not any(map(any, margins)):
        return x
    grown = tuple(size + sum(margin) for size, margin in zip(x.shape[1:3], margins, strict=True))
    output = Output(call.layer, (1, *grown, x.shape[-1]), x.quant, x.dtype, suffix="padded")
    return call.emitter.pad(x, [(0, 0), *margins, (0, 0)], output, value)


def padded_binary(
    call: Call, op: BinaryConv, x: Tensor, stored: Stored, native: bool = True
) -> tuple[Tensor, Window]:
    """Emits the padding of a binary convolution that its operator does not do, less what is not read.

    Args:
        call: The call of the convolution.
        op: The convolution, or one of its groups.
        x: Its input, as the target stores it.
        stored: From values `(..., channels)` to what the target stores for them.
        native: Whether the operator pads at all.

    Returns:
        The tensor with the padding, and how the window moves over it.
    """
    window, sizes, positions = window_of(op), x.shape[1:3], call.output.shape[1:3]
    if (native or window.padding == "valid") and not needs_written_padding(op, sizes, positions):
        return x, window
    window = replace(window, padding="valid")
    channels = op.kernel.shape[-2] * op.groups
    value = stored(np.broadcast_to(op.pad_values, (1, 1, 1, channels)))
    margins = cropped_margins(op, sizes, positions)
    if any(after < 0 for _, after in margins):
        kept = (size + min(after, 0) for size, (_, after) in zip(sizes, margins, strict=True))
        part = Output(call.layer, (1, *kept, x.shape[-1]), x.quant, x.dtype, suffix="read")
        x = call.emitter.slice_of(x, [0] * 4, part)
        margins = tuple((before, max(after, 0)) for before, after in margins)
    if (value == (x.quant or (1.0, 0))[1]).all():
        return padded(call, x, margins), window
    for axis, margin in enumerate(margins, start=1):
        x = _with_constant_sides(call, x, axis, margin, value)
    return x, window


def _with_constant_sides(
    call: Call, x: Tensor, axis: int, margin: tuple[int, int], value: np.ndarray
) -> Tensor:
    """Emits constant rows or columns before and after a map."""
    parts = [x]
    for count, side in zip(margin, ("before", "after"), strict=True):
        if count:
            sizes = (1, count, x.shape[2]) if axis == 1 else (1, x.shape[1], count)
            values = np.ascontiguousarray(np.broadcast_to(value, (*sizes, x.shape[-1])))
            scale, zero_point, *_ = x.quant or (None, 0)
            constant = call.emitter.constant(f"padding_{axis}_{side}", values, scale, zero_point)
            parts = [constant, *parts] if side == "before" else [*parts, constant]
    if len(parts) == 1:
        return x
    shape = (*x.shape[:axis], x.shape[axis] + sum(margin), *x.shape[axis + 1 :])
    output = Output(call.layer, shape, x.quant, x.dtype, suffix=f"border_{axis}")
    return call.emitter.concatenation(parts, axis, output)
