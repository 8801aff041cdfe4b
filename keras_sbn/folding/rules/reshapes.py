"""Flatten is a reshape; reshapes in a row are one; a reshape that changes nothing goes."""

from __future__ import annotations

import keras
import numpy as np

from keras_sbn.folding import affine_maps
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.kinds import RESHAPING
from keras_sbn.folding.ops import Affine, KerasCall, Reshape, Sign, Threshold, call_of
from keras_sbn.folding.thresholds import trimmed


class LowerReshapes:
    """Flatten and Reshape layers of known sizes become `Reshape`, behind `Permute` for channels first."""

    kinds = RESHAPING

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind not in self.kinds:
            return False
        target = node.shape[1:]
        if any(size is None for size in target):
            return False
        rank = len(node.input.shape)
        if kind is keras.layers.Flatten and layer.data_format == "channels_first" and rank > 2:
            # It flattens in the order of the other layout: channels go last, then all is in a row.
            order = (*range(2, rank), 1)
            name = graph.new_name(f"{node.name}_order")
            permute = keras.layers.Permute(order, name=name, dtype=layer.dtype_policy)
            shape = (node.shape[0], *(node.input.shape[axis] for axis in order))
            node.inputs = [Node(name, call_of(permute), node.inputs, shape)]
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


class MoveElementwiseBeforeReshape:
    """elementwise(reshape(x)) => reshape(elementwise(x)), with the parameters reshaped as well.

    Signs, thresholds and affine maps look at one value at a time and do not care where it lies. Moved
    to the convolution, a threshold can be folded into it; and a reshape between two dense layers meets
    its inverse and goes. Parameters that differ from position to position after a Flatten stay so.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Sign | Threshold | Affine):
            return False
        reshape = node.input
        if not isinstance(reshape.op, Reshape) or not graph.has_one_use(reshape):
            return False
        source = reshape.input
        sizes = source.shape[1:]
        if any(size is None for size in sizes):
            return False
        target = tuple(int(size) for size in sizes if size is not None)

        def reshaped(parameter: np.ndarray) -> np.ndarray:
            full = np.broadcast_to(parameter, node.shape[1:])  # type: ignore[arg-type]
            return trimmed(full.reshape(target))

        moved = Node(node.name, mapped(node.op, reshaped), [source], source.shape)
        after = Node(reshape.name, Reshape(reshape.op.target), [moved], node.shape)
        graph.replace(node, after)
        # The reshape may go later; the value stays.
        graph.follow(after, moved)
        return True


def mapped(op: Sign | Threshold | Affine, change: object) -> Sign | Threshold | Affine:
    """Returns the same operation with `change` applied to each of its parameters."""
    assert callable(change)
    if isinstance(op, Threshold):
        threshold, direction = np.broadcast_arrays(op.threshold, op.direction)
        return Threshold(change(threshold), change(direction))
    if isinstance(op, Affine):
        return affine_maps.mapped(op, change)
    return op
