"""What scales the channels of a layer, and a ReLU, go into the operator of the layer.

The last node of what is fused stays, and computes it all: its name, its consumers and the range of its
values are those of the model.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.fused import FusedActivation
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.layers.activations import fused_name_of_layer
from keras_sbn.conversion.layers.linear import per_channel
from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
)
from keras_sbn.folding.value_ranges import is_binary

_LINEAR = BinaryConv2D | IntegerConv2D | BinaryConv2DTranspose | BinaryDense
_LINEAR_LAYERS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
)
_MERGES = (keras.layers.Add, keras.layers.Multiply, keras.layers.Subtract)


def fuse_activations(graph: Graph, target: Target) -> None:
    """Fuses affine maps a channel and ReLUs into the layers before them, as the target can."""
    for node in graph.nodes():
        op = node.op
        accumulators = isinstance(op, BinaryConv2D) and is_binary(node.input)
        if accumulators and target.unsupported(node.name, op, node.input) is not None:
            accumulators = False
        if id(node) in target.float_nodes or not target.settings.quantize:
            if isinstance(op, BinaryConv2D) and accumulators:
                _fuse_relu_of_accumulators(graph, node, op, target)
            continue
        if isinstance(op, BinaryConv2D) and accumulators:
            _fuse(graph, node, affine=True, relu=target.finishes(op))
        elif _is_linear(node):
            _fuse(graph, node, affine=True, relu=True)
        elif isinstance(op, KerasCall) and op.kind in _MERGES:
            _fuse(graph, node, affine=False, relu=True)


def _is_linear(node: Node) -> bool:
    op = node.op
    if isinstance(op, Affine):
        return per_channel(op, static_shape(node)[-1]) is not None
    return isinstance(op, _LINEAR) or (isinstance(op, KerasCall) and op.kind in _LINEAR_LAYERS)


def _fuse_relu_of_accumulators(graph: Graph, node: Node, op: BinaryConv2D, target: Target) -> None:
    consumer = _only_consumer(graph, node)
    name = None if consumer is None else _relu_name(consumer)
    if name is not None and target.fuses_relu(op, name):
        _fuse(graph, node, affine=False, relu=True)


def _fuse(graph: Graph, node: Node, affine: bool, relu: bool) -> None:
    channels = static_shape(node)[-1]
    last, activation = node, "none"
    factor, offset = np.ones(channels), np.zeros(channels)
    consumer = _only_consumer(graph, last)
    if affine and consumer is not None and isinstance(consumer.op, Affine):
        found = per_channel(consumer.op, channels)
        if found is not None:
            last, (factor, offset) = consumer, found
            consumer = _only_consumer(graph, last)
    if relu and consumer is not None:
        name = _relu_name(consumer)
        if name is not None:
            last, activation = consumer, name
    if last is not node:
        fused: Any = FusedActivation(node.op, node.name, factor, offset, activation)
        last.op = fused
        last.inputs = list(node.inputs)


def _only_consumer(graph: Graph, node: Node) -> Node | None:
    return graph.consumers(node)[0] if graph.has_one_use(node) else None


def _relu_name(node: Node) -> str | None:
    call = node.op
    return fused_name_of_layer(call.operation, call.kind) if isinstance(call, KerasCall) else None
