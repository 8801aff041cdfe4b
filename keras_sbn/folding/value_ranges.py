"""What is known of a value in the graph: is it ±1, does it lie on a grid, how large can it be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.computation import operation_class
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    BinaryConv,
    BinaryConv2DTranspose,
    KerasCall,
    Pick,
    Placeholder,
    Product,
    Reshape,
    Sign,
    Threshold,
)


def _always(call: KerasCall) -> bool:
    return True


def _nearest(call: KerasCall) -> bool:
    return bool(call.operation.interpolation == "nearest")


def _of_its_inputs_alone(call: KerasCall) -> bool:
    return call.takes_tensors_alone


def _without_initial(call: KerasCall) -> bool:
    return call.operation.initial is None


_X = keras.KerasTensor((2, 1))

#: Layers whose outputs are some of their inputs in another place, whatever the order of the axes; and the
#: condition on the call under which they are.
SELECTING: dict[type, Callable[[KerasCall], bool]] = {
    keras.layers.MaxPooling1D: _always,
    keras.layers.MaxPooling2D: _always,
    keras.layers.MaxPooling3D: _always,
    keras.layers.GlobalMaxPooling1D: _always,
    keras.layers.GlobalMaxPooling2D: _always,
    keras.layers.GlobalMaxPooling3D: _always,
    keras.layers.Concatenate: _always,
    keras.layers.Maximum: _always,
    keras.layers.Minimum: _always,
    keras.layers.Permute: _always,
    keras.layers.Cropping1D: _always,
    keras.layers.Cropping2D: _always,
    keras.layers.Cropping3D: _always,
    keras.layers.RepeatVector: _always,
    keras.layers.UpSampling1D: _always,
    keras.layers.UpSampling2D: _nearest,
    keras.layers.UpSampling3D: _always,
}
#: ``x[:, ::2]``.
GET_ITEM = operation_class(lambda x: x[0], _X)
#: The same of functions of `keras.ops`.
SELECTING |= {
    GET_ITEM: _always,
    operation_class(ops.amax, _X): _always,
    operation_class(ops.amin, _X): _always,
    operation_class(ops.concatenate, [_X, _X]): _of_its_inputs_alone,
    operation_class(ops.expand_dims, _X, 1): _always,
    operation_class(ops.flip, _X): _always,
    operation_class(ops.max, _X): _without_initial,
    operation_class(ops.maximum, _X, _X): _of_its_inputs_alone,
    operation_class(ops.min, _X): _without_initial,
    operation_class(ops.minimum, _X, _X): _of_its_inputs_alone,
    operation_class(ops.moveaxis, _X, 0, 1): _always,
    operation_class(ops.repeat, _X, 2): _always,
    operation_class(ops.reshape, _X, (2,)): _always,
    operation_class(ops.roll, _X, 1): _always,
    operation_class(ops.split, _X, 2): _always,
    operation_class(ops.squeeze, _X, 1): _always,
    operation_class(ops.stack, [_X, _X]): _of_its_inputs_alone,
    operation_class(ops.swapaxes, _X, 0, 1): _always,
    operation_class(ops.tile, _X, 2): _always,
    operation_class(ops.transpose, _X): _always,
}
_AVERAGE_POOLS = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
)
_GLOBAL_AVERAGE_POOLS = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)

_Answer = TypeVar("_Answer")

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
    return decided(node, depends_on_its_inputs, _grid)


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
    waiting, seen = [node], {node}
    while waiting:
        node = waiting.pop()
        if isinstance(node.op, Sign | Threshold):
            continue
        if not (isinstance(node.op, Reshape) or selects(node)):
            return False
        waiting += [source for source in node.inputs if source not in seen]
        seen.update(node.inputs)
    return True


def selects(node: Node) -> bool:
    """Whether a node is a call whose outputs are some of its inputs in another place, or one of them."""
    if isinstance(node.op, Pick):
        node = node.input
    if not isinstance(node.op, KerasCall) or node.op.kind is None:
        return False
    condition = SELECTING.get(node.op.kind)
    return condition is not None and condition(node.op)


def depends_on_its_inputs(node: Node) -> bool:
    """Whether the grid of a node's values follows from those of its inputs."""
    if isinstance(node.op, KerasCall) and node.op.kind in (*_AVERAGE_POOLS, *_GLOBAL_AVERAGE_POOLS):
        return True
    return isinstance(node.op, Reshape | Product) or selects(node)


def averaged_values(node: Node) -> int | None:
    """A multiple of the number of values that an average pooling averages, at every position.

    Where the border is padded, fewer values are averaged there: any product of sizes up to the pool's.
    """
    if not isinstance(node.op, KerasCall):
        return None
    layer, kind = node.op.operation, node.op.kind
    if kind in _AVERAGE_POOLS:
        size = tuple(np.atleast_1d(layer.pool_size).tolist())
        if layer.padding == "valid":
            return math.prod(size)
        return math.prod(math.lcm(*range(1, length + 1)) for length in size)
    if kind in _GLOBAL_AVERAGE_POOLS:
        shape = node.input.shape
        sizes = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
        if any(size is None for size in sizes):
            return None
        return math.prod(size for size in sizes if size is not None)
    return None


def decided(
    node: Node, follows: Callable[[Node], bool], answer: Callable[[Node, list[_Answer]], _Answer]
) -> _Answer:
    """The answer to what is asked of a node, after those to the same of the nodes it follows from.

    Args:
        node: The node that is asked about.
        follows: Whether the answer for a node follows from those for its inputs.
        answer: Answers for one node, of those for its inputs, or of none where it does not follow.
    """
    found: dict[Node, _Answer] = {}
    stack = [node]
    while stack:
        each = stack[-1]
        sources = each.inputs if follows(each) else []
        missing = [source for source in sources if source not in found]
        if missing:
            stack += missing
            continue
        stack.pop()
        if each not in found:
            found[each] = answer(each, [found[source] for source in sources])
    return found[node]


def _grid(node: Node, sources: list[Grid | None]) -> Grid | None:
    found = _computed_grid(node, sources)
    return None if found is None or found.steps * found.bound >= _EXACT else found


def _computed_grid(node: Node, sources: list[Grid | None]) -> Grid | None:
    op = node.op
    if isinstance(op, Sign | Threshold):
        return Grid(1, 1)
    if isinstance(op, Placeholder):
        return None if op.largest is None else Grid(1, op.largest)
    known = [source for source in sources if source is not None]
    if not depends_on_its_inputs(node) or len(known) < len(sources):
        return None
    if isinstance(op, Reshape):
        return known[0]
    if isinstance(op, Product):
        return _grid_of_product(known[0], op)
    if selects(node):
        if len({source.steps for source in known}) != 1:
            return None
        return Grid(known[0].steps, max(source.bound for source in known))
    averaged = averaged_values(node)
    return None if averaged is None else Grid(known[0].steps * averaged, known[0].bound)


def _grid_of_product(source: Grid, op: Product) -> Grid | None:
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
