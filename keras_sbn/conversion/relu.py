"""Which nodes are a plain ReLU, that operators can take along."""

from __future__ import annotations

import keras

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall


def is_relu(node: Node) -> bool:
    """Whether a node is ``max(x, 0)`` and nothing else."""
    layer = node.op.operation if isinstance(node.op, KerasCall) else None
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value is None and not layer.negative_slope and not layer.threshold
    return isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
