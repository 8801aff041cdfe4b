"""A comparison after max-pooling moves before it, so that the pool runs on bits."""

from __future__ import annotations

import keras

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Sign, Threshold

_MAX_POOLS = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


class ThresholdBeforeMaxPool:
    """threshold(max_pool(x)) => max_pool(threshold(x)), where every direction is +1.

    ``max(x1, ..., xn) >= t`` holds where one of the ``xi >= t`` does, which is where the maximum of the
    ±1 comparisons is +1: a rising step commutes with the maximum. Padding takes no part in a maximum.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Sign | Threshold):
            return False
        if isinstance(node.op, Threshold) and (node.op.direction < 0).any():
            return False
        pool = node.input
        if not (isinstance(pool.op, KerasCall) and isinstance(pool.op.operation, _MAX_POOLS)):
            return False
        if not graph.has_one_use(pool):
            return False
        source = pool.input
        moved = Node(node.name, node.op, [source], source.shape)
        pool.inputs = [moved]
        graph.replace(node, pool)
        return True
