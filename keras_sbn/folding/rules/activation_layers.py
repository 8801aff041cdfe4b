"""Activations that are layers of their own: taken out of the layer that calls them."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.folding.computation import (
    activation_layer,
    computed_class,
    plain_copy,
    weights_without_activation,
)
from keras_sbn.folding.graph import Graph, Node, read
from keras_sbn.folding.ops import KerasCall, call_of
from keras_sbn.layers.base import SelfBinarizingKernelLayer


class TakeOutActivationLayer:
    """layer(x, activation=other) => other(layer(x)), where `other` is a layer, such as a PReLU.

    So the rules see it, whatever layer calls it: a self-binarizing one is a sign, a batch normalization
    an affine map. `Activation(other)` is `other`, and a model is the graph of its layers. One of unknown
    arithmetic stays where it is.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if isinstance(layer, keras.Model):
            graph.replace(node, _layers_of(graph, layer, node))
            return True
        activation = activation_layer(layer)
        if activation is None or not (isinstance(activation, keras.Model) or computed_class(activation)):
            return False
        if kind is keras.layers.Activation:
            node.op = call_of(activation)
            return True
        if kind is None or issubclass(kind, SelfBinarizingKernelLayer):
            return False
        linear = graph.in_place_of(layer, lambda: _without_activation(layer, node.input.shape))
        product = Node(node.name, KerasCall(linear, node.op.arguments), node.inputs, node.shape)
        name = graph.new_name(f"{node.name}_activation")
        graph.replace(node, Node(name, call_of(activation), [product], node.shape))
        return True


def _without_activation(layer: Any, shape: tuple[int | None, ...]) -> Any:
    linear = plain_copy(layer, activation="linear")
    linear.build(shape)
    linear.set_weights(weights_without_activation(layer))
    return linear


def _layers_of(graph: Graph, model: Any, node: Node) -> Node:
    """The output of a model of one input, called on what `node` reads."""
    inner = read(model)
    (start,), (end,) = inner.inputs, inner.outputs
    for one in inner.nodes():
        if one is not start:
            one.name = graph.new_name(one.name)
            one.inputs = [node.input if source is start else source for source in one.inputs]
    return node.input if end is start else end
