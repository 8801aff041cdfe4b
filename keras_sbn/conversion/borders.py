"""Borders that an operator does not pad with itself, as constants around the map.

The fold can leave a convolution whose border is +1 in some input channels and -1 in others, where it
moved the sign of a channel from before a pool into the kernel. No padding operator has a value a channel,
but a concatenation has: constant rows go above and below, constant columns left and right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_sbn.conversion.float_layers import same_padding
from keras_sbn.conversion.lowering import Lowering, Options, static_shape
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


def with_border(
    low: Lowering,
    node: Node,
    op: BinaryConv,
    source: int,
    stored: Callable[[np.ndarray], np.ndarray],
    quantization: tuple[float, int] | None = None,
) -> tuple[int, tuple[int, ...]]:
    """Emits the border of a convolution around its input.

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
    geometry = zip((height, width), op.kernel.shape, op.strides, op.dilation_rate, strict=False)
    rows, columns = (same_padding(*sizes) for sizes in geometry)
    if op.padding == "causal":
        rows, columns = (0, 0), (op.dilation_rate[1] * (op.kernel.shape[1] - 1), 0)
    grown = height + sum(rows)
    shape = stored(np.ones((1, height, width, channels))).shape
    for axis, (before, after), size in ((1, rows, width), (2, columns, grown)):
        if before + after == 0:
            continue
        parts = [source]
        for count, side in ((before, "before"), (after, "after")):
            if count:
                sizes = (1, count, size) if axis == 1 else (1, size, count)
                values = stored(np.broadcast_to(op.pad_values, (*sizes, channels)))
                scale, zero_point = quantization or (None, 0)
                name = f"border_{axis}_{side}"
                tensor = low.constant(node.name, name, values, scale, zero_point)
                parts = [tensor, *parts] if side == "before" else [*parts, tensor]
        shape = (*shape[:axis], shape[axis] + before + after, *shape[axis + 1 :])
        options: Options = ("Concatenation", {"axis": axis})
        dtype = values.dtype.name
        source = low.emit(
            node.name,
            "CONCATENATION",
            parts,
            shape,
            dtype=dtype,
            suffix=f"border_{axis}",
            options=options,
            version=2 if dtype == "int8" else 1,
            quantization=quantization,
        )
    return source, shape
