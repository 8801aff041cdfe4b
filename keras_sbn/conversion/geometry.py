"""Sizes: shapes for a batch of one, what "same" pads, and how wide the padding of a convolution is."""

from __future__ import annotations

import numpy as np

from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.convolution import output_sizes
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv

#: What goes before and after the rows, and before and after the columns.
Margins = tuple[tuple[int, int], ...]


def static_shape(node: Node) -> tuple[int, ...]:
    """The shape of a node's output for a batch of one.

    Raises:
        LoweringError: If a size other than the batch is unknown.
    """
    sizes = node.shape[1:]
    if any(size is None for size in sizes):
        raise LoweringError(
            f"Expected a model of fixed input sizes. Received: {node.name!r} with output shape "
            f"{node.shape}. Build the model with keras.Input(shape) without None."
        )
    return (1, *(int(size) for size in sizes if size is not None))


def same_padding(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """How many values "same" puts before and after `size` of them, as TensorFlow has it."""
    missing = max(_missing(size, window, stride, dilation), 0)
    return missing // 2, missing - missing // 2


def margins_of(sizes: tuple[int, ...], window: tuple[int, ...], moves: Window) -> Margins:
    """What a convolution pads on each side of both axes of a map of these sizes."""
    if moves.padding == "causal":
        return ((0, 0), (moves.dilation_rate[1] * (window[1] - 1), 0))
    if moves.padding == "valid":
        return ((0, 0), (0, 0))
    axes = zip(sizes, window, moves.strides, moves.dilation_rate, strict=True)
    return tuple(same_padding(*axis) for axis in axes)


def products(op: BinaryConv) -> int:
    """How many products an accumulator sums."""
    return int(np.prod(op.kernel.shape[:-1]))


def window_of(layer: BinaryConv) -> Window:
    """How the window of a convolution moves."""
    return Window(tuple(layer.strides), layer.padding, tuple(layer.dilation_rate))


def uniform_padding(op: BinaryConv) -> float | None:
    """What a convolution pads with, or `None` where its channels are padded with different values."""
    values = set(op.pad_values.tolist())
    return float(values.pop()) if len(values) == 1 else None


def pads_with(op: BinaryConv, value: float) -> bool:
    """Whether a convolution pads, and with this value everywhere."""
    return op.padding != "valid" and uniform_padding(op) == value


def has_binary_padding(op: BinaryConv) -> bool:
    """Whether a convolution does not pad, or with -1 and +1."""
    return op.padding == "valid" or bool((np.abs(op.pad_values) == 1).all())


def pads_itself(
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    moves: Window,
    value: float | None,
    known: tuple[float, ...] = (0.0,),
) -> bool:
    """Whether an operator pads a map of these sizes itself: not at all, or on all sides.

    It does not where "same" padding ends before the map does: the last window stops short of the last
    value. So it is where the stride is longer than what the window reaches over, and the sizes fit. Some
    runtimes then take the difference for padding that is less than none, and shift the windows: XNNPACK
    in TensorFlow 2.21 and in LiteRT before 2.3. Written out, the padding is what Keras has.

    Args:
        sizes: Rows and columns of the map.
        window: Those of the kernel.
        moves: How the window moves.
        value: What is to stand around the map, `None` for different values.
        known: What the operator can pad with.
    """
    axes = zip(sizes, window, moves.strides, moves.dilation_rate, strict=True)
    reaches = all(_missing(*axis) >= 0 for axis in axes)
    return moves.padding == "valid" or (moves.padding == "same" and value in known and reaches)


def needs_written_padding(op: BinaryConv, sizes: tuple[int, ...], positions: tuple[int, ...]) -> bool:
    """Whether the operators cannot pad as a convolution does: on all sides, with +1 or 0.

    Nor can they where its last rows or columns are not computed (`crop_unused_outputs`).
    """
    window, moves = op.kernel.shape[:2], window_of(op)
    every = output_sizes(sizes, window, op.strides, op.padding, op.dilation_rate)
    native = pads_itself(sizes, window, moves, uniform_padding(op), known=(0.0, 1.0))
    return positions != tuple(every) or not native


def cropped_margins(op: BinaryConv, sizes: tuple[int, ...], positions: tuple[int, ...]) -> Margins:
    """What goes before and after the rows and columns of a convolution with these positions.

    Behind the last window that is computed, what is more than a stride is cut off: less than nothing
    goes after it.
    """
    found = []
    before_all = margins_of(sizes, op.kernel.shape[:2], window_of(op))
    for axis in (0, 1):
        stride, before = op.strides[axis], before_all[axis][0]
        covered = op.dilation_rate[axis] * (op.kernel.shape[axis] - 1) + 1
        after = (positions[axis] - 1) * stride + covered - sizes[axis] - before
        found.append((before, 0 if -stride < after < 0 else after))
    return tuple(found)


def _missing(size: int, window: int, stride: int, dilation: int) -> int:
    """How many values "same" lacks; less than 0 where some are left over."""
    covered = dilation * (window - 1) + 1
    return (-(-size // stride) - 1) * stride + covered - size
