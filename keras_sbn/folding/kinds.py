"""What is known of a value in the graph: is it ±1, does it lie on a grid, how large can it be."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
import numpy as np

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    BinaryConv,
    BinaryConv2DTranspose,
    BinaryDense,
    KerasCall,
    Placeholder,
    Reshape,
    Sign,
    Threshold,
)

#: Layers whose outputs are some of their inputs, in another place.
_SELECTING = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.Concatenate,
    keras.layers.Permute,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.RepeatVector,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
)

#: float32 holds every integer up to here, and so every sum that stays below.
_EXACT = 2**24


class Grid(NamedTuple):
    """Values that are multiples of ``1 / steps`` and at most `bound` in magnitude."""

    steps: int
    bound: float


def grid(node: Node) -> Grid | None:
    """Returns the grid a node's values lie on, or `None` where they can be any real numbers.

    A grid finer or larger than float32 can tell apart counts as none.
    """
    found = _grid(node)
    if found is None or found.steps * found.bound >= _EXACT:
        return None
    return found


def integer_bound(node: Node) -> int | None:
    """Returns a K with ``|value| <= K`` where the value is always an integer, else `None`."""
    found = grid(node)
    return int(found.bound) if found is not None and found.steps == 1 else None


def behind_reshapes(node: Node) -> Node:
    """The node whose values `node` holds, maybe in another shape."""
    while isinstance(node.op, Reshape):
        node = node.input
    return node


def is_image(node: Node) -> bool:
    """Whether a node holds an input of 8-bit unsigned integers, reshaped or as it is."""
    source = behind_reshapes(node).op
    return isinstance(source, Placeholder) and source.dtype == "uint8"


def is_binary(node: Node) -> bool:
    """Whether the value is always -1 or +1."""
    op = node.op
    if isinstance(op, Sign | Threshold):
        return True
    if isinstance(op, Reshape):
        return is_binary(node.input)
    if isinstance(op, KerasCall) and isinstance(op.operation, _SELECTING):
        return all(is_binary(source) for source in node.inputs)
    return False


def _grid(node: Node) -> Grid | None:
    op = node.op
    if isinstance(op, Sign | Threshold):
        return Grid(1, 1)
    if isinstance(op, Reshape):
        return grid(node.input)
    if isinstance(op, Placeholder):
        return None if op.largest is None else Grid(1, op.largest)
    if isinstance(op, KerasCall):
        return _grid_of_call(node, op.operation)
    if isinstance(op, BinaryConv | BinaryConv2DTranspose | BinaryDense):
        return _grid_of_product(node, op)
    return None


def _grid_of_product(node: Node, op: BinaryConv | BinaryConv2DTranspose | BinaryDense) -> Grid | None:
    source = grid(node.input)
    if source is None:
        return None
    bound = source.bound
    if isinstance(op, BinaryConv) and op.padding != "valid":
        if (op.pad_values * source.steps % 1 != 0).any():
            return None
        bound = max(bound, float(np.abs(op.pad_values).max()))
    kernel = np.abs(op.kernel.astype(np.int64))
    if isinstance(op, BinaryConv2DTranspose):
        kernel = np.swapaxes(kernel, -1, -2)
    largest = kernel.reshape(-1, kernel.shape[-1]).sum(axis=0).max()
    return Grid(source.steps, bound * float(largest))


def _grid_of_call(node: Node, layer: object) -> Grid | None:
    if isinstance(layer, _SELECTING):
        sources = [grid(source) for source in node.inputs]
        known = [source for source in sources if source is not None]
        if len(known) < len(sources) or len({source.steps for source in known}) != 1:
            return None
        return Grid(known[0].steps, max(source.bound for source in known))
    averaged = averaged_values(node, layer)
    source = grid(node.input) if averaged else None
    if averaged is None or source is None:
        return None
    return Grid(source.steps * averaged, source.bound)


def averaged_values(node: Node, layer: object) -> int | None:
    """A multiple of the number of values that an average pooling averages, at every position.

    Where the border is padded, fewer values are averaged there: any product of sizes up to the pool's.
    """
    if isinstance(layer, keras.layers.AveragePooling1D | keras.layers.AveragePooling2D):
        size = tuple(np.atleast_1d(layer.pool_size).tolist())
        if layer.padding == "valid":
            return math.prod(size)
        return math.prod(math.lcm(*range(1, length + 1)) for length in size)
    if isinstance(layer, keras.layers.GlobalAveragePooling1D | keras.layers.GlobalAveragePooling2D):
        sizes = node.input.shape[1:-1]
        if layer.data_format != "channels_last" or any(size is None for size in sizes):
            return None
        return math.prod(size for size in sizes if size is not None)
    return None
