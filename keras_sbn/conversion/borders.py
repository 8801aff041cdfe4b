"""Borders that an operator does not lay around its input itself, and what it does not read cut off.

Where the border is what the target stores as 0 or as its zero point, a PAD is enough. The fold can leave
a convolution whose border is +1 in some input channels and -1 in others, where it moved the sign of a
channel from before a pool into the kernel. No padding operator has a value a channel, but a concatenation
has: constant rows go above and below, constant columns left and right. A convolution whose last positions
no pool reads (`unread_positions`) gets less behind its input, or a SLICE of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_sbn.conversion.float_layers import same_padding
from keras_sbn.conversion.lowering import Lowering, Options, static_shape
from keras_sbn.convolution import output_sizes
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv


def uniform_border(op: BinaryConv) -> float | None:
    """What a convolution pads with, or `None` where its channels are padded with different values."""
    values = set(op.pad_values.tolist())
    return float(values.pop()) if len(values) == 1 else None


def has_border_of(op: BinaryConv, value: float) -> bool:
    """Whether a convolution pads, and with this value everywhere."""
    return op.padding != "valid" and uniform_border(op) == value


def has_binary_border(op: BinaryConv) -> bool:
    """Whether a convolution has no border, or one of -1 and +1."""
    return op.padding == "valid" or bool((np.abs(op.pad_values) == 1).all())


def drops_positions(node: Node, op: BinaryConv) -> bool:
    """Whether the last rows or columns of a convolution are not computed (`unread_positions`)."""
    sizes = static_shape(node.input)[1:3]
    every = output_sizes(sizes, op.kernel.shape[:2], op.strides, op.padding, op.dilation_rate)
    return static_shape(node)[1:3] != every


def needs_border(node: Node, op: BinaryConv) -> bool:
    """Whether the operators cannot pad as a convolution does: on all sides, with +1 or 0."""
    native = has_border_of(op, 0.0) or has_border_of(op, 1.0)
    return drops_positions(node, op) or op.padding == "causal" or (op.padding == "same" and not native)


def with_border(
    low: Lowering,
    node: Node,
    op: BinaryConv,
    source: int,
    stored: Callable[[np.ndarray], np.ndarray],
    quantization: tuple[float, int] | None = None,
) -> tuple[int, tuple[int, ...]]:
    """Emits the border of a convolution around its input, less what no position of its output reads.

    Args:
        low: Receives the operators.
        node: The convolution.
        op: What it computes.
        source: The tensor of its input.
        stored: From values `(..., channels)` to what the target stores for them.
        quantization: Scale and zero point of what it stores.

    Returns:
        The tensor with the border, and its shape as stored.
    """
    _, height, width, channels = static_shape(node.input)
    border = stored(np.broadcast_to(op.pad_values, (1, 1, 1, channels)))
    shape: tuple[int, ...] = (1, height, width, border.shape[-1])
    dtype = border.dtype.name
    margins = _margins(node, op)

    def emit(operator: str, inputs: list[int], suffix: str, options: Options) -> int:
        return low.emit(
            node.name,
            operator,
            inputs,
            shape,
            dtype=dtype,
            suffix=suffix,
            options=options,
            version=2 if dtype == "int8" else 1,
            quantization=quantization,
        )

    def index(suffix: str, values: Sequence[Any]) -> int:
        return low.constant(node.name, suffix, np.array(values, np.int32))

    if any(after < 0 for _, after in margins):
        kept = (size + min(after, 0) for size, (_, after) in zip(shape[1:3], margins, strict=True))
        shape = (1, *kept, shape[-1])
        inputs = [source, index("slice_begin", [0] * 4), index("slice_size", shape)]
        source = emit("SLICE", inputs, "read", ("Slice", {}))
        margins = tuple((before, max(after, 0)) for before, after in margins)
    if not any(map(any, margins)):
        return source, shape
    if (border == (quantization or (1.0, 0))[1]).all():
        grown = (size + sum(margin) for size, margin in zip(shape[1:3], margins, strict=True))
        shape = (1, *grown, shape[-1])
        inputs = [source, index("pad_widths", ((0, 0), *margins, (0, 0)))]
        return emit("PAD", inputs, "padded", ("Pad", {})), shape
    for axis, (before, after) in enumerate(margins, start=1):
        parts = [source]
        for count, side in ((before, "before"), (after, "after")):
            if count:
                sizes = (1, count, shape[2]) if axis == 1 else (1, shape[1], count)
                values = np.ascontiguousarray(np.broadcast_to(border, (*sizes, shape[-1])))
                scale, zero_point = quantization or (None, 0)
                name = f"border_{axis}_{side}"
                tensor = low.constant(node.name, name, values, scale, zero_point)
                parts = [tensor, *parts] if side == "before" else [*parts, tensor]
        if len(parts) > 1:
            shape = (*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :])
            source = emit("CONCATENATION", parts, f"border_{axis}", ("Concatenation", {"axis": axis}))
    return source, shape


def _margins(node: Node, op: BinaryConv) -> tuple[tuple[int, int], ...]:
    """How much goes before and after the rows and the columns of a convolution's input.

    Behind the last window that is computed, what is more than a stride is cut off: less than nothing
    goes after it.
    """
    found = []
    for axis in (0, 1):
        size, positions = static_shape(node.input)[axis + 1], static_shape(node)[axis + 1]
        window, stride, dilation = op.kernel.shape[axis], op.strides[axis], op.dilation_rate[axis]
        covered = dilation * (window - 1) + 1
        before = 0
        if op.padding == "same":
            before, _ = same_padding(size, window, stride, dilation)
        elif op.padding == "causal" and axis == 1:
            before = covered - 1
        after = (positions - 1) * stride + covered - size - before
        found.append((before, 0 if -stride < after < 0 else after))
    return tuple(found)
