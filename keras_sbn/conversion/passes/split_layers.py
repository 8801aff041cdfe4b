"""Layers that compute two things, taken apart: each value that int8 stores needs a range of its own."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import keras

from keras_sbn.conversion.layers.activations import fused_name, refuse_unknown_activation
from keras_sbn.folding.computation import plain_copy, weights_without_activation
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Slot, call_of

WITH_ACTIVATION = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
)
_MERGES = (keras.layers.Add, keras.layers.Maximum, keras.layers.Minimum, keras.layers.Multiply)


class SplitActivation:
    """layer(x, activation) => activation(layer(x)), for convolutions and dense layers.

    Args:
        float_layers: Names of the layers that compute in float32, `None` for all: there an operator
            computes both.
    """

    def __init__(self, float_layers: Container[str] | None) -> None:
        self._float_layers = float_layers

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer = node.op.operation
        if node.op.kind not in WITH_ACTIVATION or fused_name(layer.activation) == "none":
            return False
        if self._float_layers is None or layer.name in self._float_layers:
            return False
        refuse_unknown_activation(layer.activation, node.name)
        name = graph.new_name(f"{node.name}_linear")
        linear = plain_copy(layer, activation="linear")
        linear.build(node.input.shape)
        linear.set_weights(weights_without_activation(layer))
        product = Node(name, KerasCall(linear, node.op.arguments), node.inputs, node.shape)
        activation = keras.layers.Activation(layer.activation, name=node.name)
        graph.replace(node, Node(node.name, call_of(activation), [product], node.shape))
        return True


class SplitMerge:
    """a + b + c => (a + b) + c, and likewise products and maxima."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or len(node.inputs) < 3:
            return False
        kind: Any = node.op.kind
        if kind not in _MERGES:
            return False
        arguments: Any = (([Slot(0), Slot(1)],), {})
        first, second, *others = node.inputs
        merge = kind(name=graph.new_name(f"{node.name}_partial_{len(others)}"))
        shape = tuple(merge.compute_output_shape([first.shape, second.shape]))
        partial = Node(merge.name, KerasCall(merge, arguments), [first, second], shape)
        inputs = [partial, *others]
        slots: Any = (([Slot(index) for index in range(len(inputs))],), {})
        graph.replace(node, Node(node.name, KerasCall(kind(name=node.name), slots), inputs, node.shape))
        return True
