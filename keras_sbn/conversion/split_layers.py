"""Layers that compute two things, taken apart: each value that int8 stores needs a range of its own."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Slot

_WITH_ACTIVATION = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
)
_MERGES = (keras.layers.Add, keras.layers.Multiply, keras.layers.Maximum)


class SplitActivation:
    """layer(x, activation) => activation(layer(x)), for convolutions and dense layers."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or not isinstance(node.op.operation, _WITH_ACTIVATION):
            return False
        layer = node.op.operation
        if layer.activation is keras.activations.linear:
            return False
        name = f"{node.name}_linear"
        linear = type(layer).from_config({**layer.get_config(), "activation": "linear", "name": name})
        linear.build(node.input.shape)
        linear.set_weights(layer.get_weights())
        product = Node(name, KerasCall(linear, node.op.arguments), node.inputs, node.shape)
        activation = keras.layers.Activation(layer.activation, name=node.name)
        graph.replace(
            node, Node(node.name, KerasCall(activation, ((Slot(0),), {})), [product], node.shape)
        )
        return True


class SplitMerge:
    """a + b + c => (a + b) + c, and likewise products and maxima."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or not isinstance(node.op.operation, _MERGES):
            return False
        if len(node.inputs) < 3:
            return False
        kind = type(node.op.operation)
        arguments: Any = (([Slot(0), Slot(1)],), {})
        first, second, *others = node.inputs
        merge = kind(name=f"{node.name}_partial_{len(others)}")
        shape = tuple(merge.compute_output_shape([first.shape, second.shape]))
        partial = Node(merge.name, KerasCall(merge, arguments), [first, second], shape)
        inputs = [partial, *others]
        slots: Any = (([Slot(index) for index in range(len(inputs))],), {})
        graph.replace(node, Node(node.name, KerasCall(kind(name=node.name), slots), inputs, node.shape))
        return True
