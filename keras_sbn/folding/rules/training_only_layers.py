"""Layers that do nothing at inference go."""

from __future__ import annotations

import keras
import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.kinds import AUGMENTATION, TRAINING_ONLY
from keras_sbn.folding.ops import Affine, KerasCall, Placeholder
from keras_sbn.folding.value_ranges import behind_reshapes


class RemoveTrainingOnlyLayers:
    """Dropout, noise, augmentation, regularization and identity layers, and linear activations.

    A layer of these that is called with ``training=True`` stays. The layers that augment images record
    that for every call of theirs, so they go. They take integers as well, and return real numbers: there
    an affine map by 1 stays.
    """

    kinds = TRAINING_ONLY | AUGMENTATION

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind in AUGMENTATION and node.shape == node.input.shape:
            source = behind_reshapes(node.input).op
            if isinstance(source, Placeholder) and not source.dtype.startswith("float"):
                channels = node.shape[-1]
                if channels is None:
                    return False
                node.op = Affine(np.zeros(channels), np.ones(channels), np.zeros(channels))
            else:
                graph.replace(node, node.input)
            return True
        linear = kind is keras.layers.Activation and layer.activation is keras.activations.linear
        if not (linear or kind in TRAINING_ONLY):
            return False
        graph.replace(node, node.input)
        return True
