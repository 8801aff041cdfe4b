"""Layers that do nothing at inference go."""

from __future__ import annotations

import keras
import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Placeholder
from keras_sbn.folding.value_ranges import behind_reshapes

_TRAINING_ONLY = {
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
}


#: Layers that change images during training; which of them there are depends on the version of Keras.
_AUGMENTATION = {
    getattr(keras.layers, name)
    for name in (
        "AugMix",
        "CutMix",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
    )
    if hasattr(keras.layers, name)
}


class RemoveTrainingOnlyLayers:
    """Dropout, noise, augmentation, regularization and identity layers, and linear activations.

    A layer of these that is called with ``training=True`` stays. The layers that augment images record
    that for every call of theirs, so they go. They take integers as well, and return real numbers: there
    an affine map by 1 stays.
    """

    kinds = frozenset({*_TRAINING_ONLY, *_AUGMENTATION})

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind in _AUGMENTATION and node.shape == node.input.shape:
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
        if not (linear or kind in _TRAINING_ONLY):
            return False
        graph.replace(node, node.input)
        return True
