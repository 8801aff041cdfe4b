"""Flatten is a reshape; reshapes in a row are one; a reshape that changes nothing goes."""

from __future__ import annotations

import keras

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Reshape, Sign, Threshold


class LowerReshapes:
    """Flatten and Reshape layers of known sizes, channels last, become `Reshape`."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer = node.op.operation
        if not isinstance(layer, keras.layers.Flatten | keras.layers.Reshape):
            return False
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return False
        target = node.shape[1:]
        if any(size is None for size in target):
            return False
        node.op = Reshape(tuple(int(size) for size in target if size is not None))
        return True


class MergeReshapes:
    """reshape(reshape(x)) => reshape(x), and reshape(x) => x where the shape stays."""

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Reshape):
            return False
        if isinstance(node.input.op, Reshape):
            node.inputs = [node.input.input]
            return True
        if node.input.shape[1:] == node.op.target and not graph.is_output(node):
            graph.replace(node, node.input)
            return True
        return False


class ReshapeAfterChannelwise:
    """channelwise(reshape(x)) => reshape(channelwise(x)), where the channels stay the last axis.

    Signs, thresholds and affine maps look at one value and its channel, so they do not care where the
    values lie as long as the channel stays the same. It lets a reshape between two dense layers meet
    its inverse and go.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        reshape = node.input if len(node.inputs) == 1 else None
        if reshape is None or not isinstance(reshape.op, Reshape):
            return False
        if not isinstance(node.op, Sign | Threshold | Affine) or not graph.has_one_use(reshape):
            return False
        source = reshape.input
        if source.shape[-1] != node.shape[-1] and not isinstance(node.op, Sign):
            return False
        moved = Node(node.name, node.op, [source], source.shape)
        after = Node(reshape.name, Reshape(reshape.op.target), [moved], node.shape)
        graph.replace(node, after)
        return True
