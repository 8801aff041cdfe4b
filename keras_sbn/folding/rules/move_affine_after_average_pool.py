"""An affine map before average pooling moves after it, so that the pool averages integers."""

from __future__ import annotations

import keras

from keras_sbn.folding.affine_maps import rank
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall

_AVERAGE_POOLS = {
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
}


class MoveAffineAfterAveragePool:
    """average_pool(affine(x)) => affine(average_pool(x)), for parameters of one value a channel.

    An average is linear and its weights sum to 1, at borders as well, where padding does not count. The
    sums of integers are exact, where those of their multiples are rounded, and a sum of 0 stays 0.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or node.op.kind not in _AVERAGE_POOLS:
            return False
        if node.op.operation.data_format != "channels_last":
            return False
        affine = node.input
        if not isinstance(affine.op, Affine) or not graph.has_one_use(affine):
            return False
        if rank(affine.op) > 1:
            return False
        node.inputs = [affine.input]
        graph.replace(node, Node(affine.name, affine.op, [node], node.shape))
        return True
