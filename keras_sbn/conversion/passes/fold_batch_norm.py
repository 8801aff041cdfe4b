"""Batch normalization after a float layer goes into its kernel and bias."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.layers.activations import fused_name, relu_name
from keras_sbn.conversion.layers.linear import array, bias_of
from keras_sbn.conversion.passes.sign_of_shared_affine import decides_as_sign
from keras_sbn.folding.computation import base_class, plain_copy
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Sign, call_of

_LAYERS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


class FoldBatchNorm:
    """scale * (conv(x, w) + b - center) + offset => conv(x, scale * w) + b', and a ReLU with it.

    The product of real numbers is rounded in any order of its sums, so this changes nothing that was
    exact: the layer's own sums are not. Where a sign reads the same value, the fold has it as a threshold
    on the convolution; it becomes the sign of the new convolution, which decides alike but for rounding.

    Args:
        float_layers: Names of the layers that compute in float32; `None` for all.
    """

    def __init__(self, float_layers: Container[str] | None) -> None:
        self._float_layers = float_layers

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Affine) or np.ndim(node.op.scale) > 1 or np.ndim(node.op.offset) > 1:
            return False
        source = node.input
        if not isinstance(source.op, KerasCall) or source.op.kind not in _LAYERS:
            return False
        layer: Any = source.op.operation
        in_float = self._float_layers is None or layer.name in self._float_layers
        if not in_float or fused_name(layer.activation) != "none":
            return False
        others = [reader for reader in graph.consumers(source) if reader is not node]
        if graph.is_output(source) or not all(
            decides_as_sign(other.op, node.op, 1e-5) for other in others
        ):
            return False
        call = call_of(_scaled(layer, source, node.op))
        merged = Node(node.name, call, list(source.inputs), node.shape)
        for other in others:
            other.op, other.inputs = Sign(), [merged]
        if not others and graph.has_one_use(node) and relu_name(graph.consumers(node)[0].op) == "relu":
            relu = graph.consumers(node)[0]
            call.operation.activation = keras.activations.relu
            merged.name, node = relu.name, relu
        graph.replace(node, merged)
        return True


def _scaled(layer: Any, source: Node, affine: Affine) -> Any:
    copy = plain_copy(layer, use_bias=True, bias_initializer="zeros")
    copy.build(source.input.shape)
    kernel, scale = array(layer.kernel), np.broadcast_to(affine.scale, (source.shape[-1] or 0,))
    bias = bias_of(layer, len(scale))
    depthwise = base_class(layer) is keras.layers.DepthwiseConv2D
    by_filter = scale.reshape(kernel.shape[2:]) if depthwise else scale
    copy.set_weights([kernel * by_filter, scale * (bias - affine.center) + affine.offset])
    return copy
