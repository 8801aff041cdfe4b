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
from keras_sbn.conversion.layers.activations import relu_name
from keras_sbn.conversion.layers.linear import per_channel
from keras_sbn.conversion.passes.split_layers import WITH_ACTIVATION
from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Product

_RELUS = ("relu", "relu6")
_MERGES = (keras.layers.Add, keras.layers.Multiply, keras.layers.Subtract)


def fuse_activations(graph: Graph, target: Target) -> None:
    """Fuses affine maps a channel and ReLUs into the layers before them, as the target can."""
    for node in graph.nodes():
        op: Any = node.op
        quantized = target.in_int8(node)
        if target.sums_bits(node):
            relus = _RELUS if quantized else target.float_relus
            _fuse(graph, node, quantized, relus if target.finishes(op) else ())
        elif quantized and _is_linear(node):
            _fuse(graph, node, True, _RELUS)
        elif quantized and isinstance(op, KerasCall) and op.kind in _MERGES:
            _fuse(graph, node, False, _RELUS)


def _is_linear(node: Node) -> bool:
    op = node.op
    if isinstance(op, Affine):
        return per_channel(op, static_shape(node)[-1]) is not None
    return isinstance(op, Product) or (isinstance(op, KerasCall) and op.kind in WITH_ACTIVATION)


def _fuse(graph: Graph, node: Node, affine: bool, relus: tuple[str, ...]) -> None:
    channels = static_shape(node)[-1]
    last, activation = node, "none"
    factor, offset = np.ones(channels), np.zeros(channels)
    consumer = _only_consumer(graph, last)
    if affine and consumer is not None and isinstance(consumer.op, Affine):
        found = per_channel(consumer.op, channels)
        if found is not None:
            last, (factor, offset) = consumer, found
            consumer = _only_consumer(graph, last)
    name = None if consumer is None else relu_name(consumer.op)
    if consumer is not None and name in relus:
        last, activation = consumer, str(name)
    if last is not node:
        fused: Any = FusedActivation(node.op, node.name, factor, offset, activation)
        last.op = fused
        last.inputs = list(node.inputs)


def _only_consumer(graph: Graph, node: Node) -> Node | None:
    return graph.consumers(node)[0] if graph.has_one_use(node) else None
