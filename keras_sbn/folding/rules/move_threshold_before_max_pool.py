"""A comparison after max-pooling moves before it, so that the pool runs on bits."""

from __future__ import annotations

import keras
import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, BinaryConv, KerasCall, Sign, Threshold
from keras_sbn.folding.thresholds import carried_back, negated
from keras_sbn.folding.value_ranges import grid

_MAX_POOLS = {
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
}


class MoveThresholdBeforeMaxPool:
    """threshold(max_pool(x)) => max_pool(threshold(x)), where every direction is +1.

    ``max(x1, ..., xn) >= t`` holds where one of the ``xi >= t`` does, which is where the maximum of the
    ±1 comparisons is +1: a rising step commutes with the maximum. Padding takes no part in a maximum.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Sign | Threshold):
            return False
        if isinstance(node.op, Threshold) and (node.op.direction < 0).any():
            return False
        pool = _max_pool_before(graph, node)
        if pool is None:
            return False
        _swap(graph, node, pool)
        return True


class MoveNegatedThresholdBeforeMaxPool:
    """A comparison in the other direction moves before the pool negated; the kernels after it make up.

    In a channel of direction -1 the value is ``v = +1 <=> max(xi) <= t``. Its negation is
    ``-v = +1 <=> max(xi) > t``, a rising step again, which commutes with the maximum. So the pool gives
    -v in that channel, and every convolution that reads it negates the channel's weights:
    ``conv(v, w) = conv(-v, -w)``. What the convolution pads the channel with is negated with it, so the
    border is exact as well: +1 becomes -1, and the padding gets one value a channel.

    Applies only where binary convolutions are all that reads the value. An affine map before the pool is
    taken into the comparison first: its values are real, and the next one above t is not known.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Threshold) or not (node.op.direction < 0).any():
            return False
        pool = _max_pool_before(graph, node)
        readers = graph.consumers(node)
        if pool is None or graph.is_output(node):
            return False
        if not readers or not all(isinstance(reader.op, BinaryConv) for reader in readers):
            return False
        signs = np.broadcast_to(node.op.direction, (node.shape[-1] or 0,))
        comparison, source = node.op, pool.input
        if isinstance(source.op, Affine):
            comparison, source = carried_back(comparison, source.op), source.input
        opposite = negated(comparison.threshold, grid(source))
        node.op = Threshold(
            np.where(signs < 0, opposite, comparison.threshold), comparison.direction * signs
        )
        pool.inputs = [source]
        for reader in readers:
            _negate_input_channels(reader, signs)
        graph.forget(node)
        _swap(graph, node, pool)
        return True


def _max_pool_before(graph: Graph, node: Node) -> Node | None:
    """The max-pool that `node` alone reads, if its parameters are the same at every position."""
    pool = node.input
    if not isinstance(pool.op, KerasCall) or pool.op.kind not in _MAX_POOLS:
        return None
    if isinstance(node.op, Threshold) and node.op.threshold.ndim > 1:
        return None
    # A pool of channels first pools the axis along which thresholds differ.
    if isinstance(node.op, Threshold) and pool.op.operation.data_format != "channels_last":
        return None
    return pool if graph.has_one_use(pool) else None


def _swap(graph: Graph, node: Node, pool: Node) -> None:
    source = pool.input
    graph.exchange(node, pool, [Node(node.name, node.op, [source], source.shape)])


def _negate_input_channels(reader: Node, signs: np.ndarray) -> None:
    conv = reader.op
    assert isinstance(conv, BinaryConv)
    depth, filters = conv.kernel.shape[-2:]
    # Row g of this holds the signs of the channels that the filters of group g read.
    by_group = signs.reshape(conv.groups, depth)
    conv.kernel = conv.kernel * np.repeat(by_group, filters // conv.groups, axis=0).T
    if conv.padding != "valid":
        conv.pad_values = np.broadcast_to(conv.pad_values, signs.shape) * signs
