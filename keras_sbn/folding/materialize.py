"""From the nodes of a rewritten graph to Keras layers with their weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.folding import layers, ops
from keras_sbn.folding.graph import Node
from keras_sbn.folding.kinds import integer_bound
from keras_sbn.folding.thresholds import round_up_to_float32


class LayerMaker:
    """Makes the Keras layer of a node; a layer that the original shares stays shared."""

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}

    def __call__(self, node: Node) -> tuple[Any, list[np.ndarray] | None]:
        """Returns the layer and the weights to set once it has been called, if any."""
        op = node.op
        if isinstance(op, ops.KerasCall):
            return self._copy(op.operation)
        return _folded_layer(node)

    def _copy(self, operation: Any) -> tuple[Any, list[np.ndarray] | None]:
        if not isinstance(operation, keras.layers.Layer):
            return operation, None
        known = self._copies.get(id(operation))
        if known is not None:
            return known, None
        copy = type(operation).from_config(operation.get_config())
        copy.trainable = False
        self._copies[id(operation)] = copy
        return copy, operation.get_weights()


def _folded_layer(node: Node) -> tuple[Any, list[np.ndarray] | None]:
    op = node.op
    if isinstance(op, ops.BinaryConv2D):
        conv = layers.BinaryConv2D(
            filters=op.kernel.shape[-1],
            kernel_size=op.kernel.shape[:2],
            strides=op.strides,
            padding=op.padding,
            pad_value=op.pad_value,
            dilation_rate=op.dilation_rate,
            groups=op.groups,
            name=node.name,
        )
        return conv, [op.kernel]
    if isinstance(op, ops.BinaryDense):
        return layers.BinaryDense(op.kernel.shape[-1], name=node.name), [op.kernel]
    if isinstance(op, ops.Threshold):
        integer = integer_bound(node.input) is not None
        directed = bool((op.direction < 0).any())
        layer = layers.Threshold(integer=integer, directed=directed, name=node.name)
        threshold = op.threshold.astype("int32") if integer else round_up_to_float32(op.threshold)
        return layer, [threshold, *([op.direction] if directed else [])]
    if isinstance(op, ops.Affine):
        offset = op.offset - op.scale * op.center
        return layers.Affine(name=node.name), [op.scale.astype("f4"), offset.astype("f4")]
    if isinstance(op, ops.Sign):
        return layers.Sign(name=node.name), None
    if isinstance(op, ops.Reshape):
        return keras.layers.Reshape(op.target, name=node.name), None
    raise TypeError(f"Expected an operation of the fold. Received: {op!r}")
