"""What is known of a value in the graph: is it ±1, does it lie on a grid, how large can it be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import keras
import numpy as np

from keras_sbn.folding.graph import Node
from keras_sbn.folding.kinds import SELECTING
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
