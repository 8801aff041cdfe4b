"""Layers that do nothing at inference go."""

from __future__ import annotations

import keras

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall

_TRAINING_ONLY = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


class RemoveTrainingOnlyLayers:
    """Dropout, noise, regularization and identity layers, and linear activations."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer = node.op.operation
        linear = (
            isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear
        )
        if not (linear or isinstance(layer, _TRAINING_ONLY)):
            return False
        graph.replace(node, node.input)
        return True
