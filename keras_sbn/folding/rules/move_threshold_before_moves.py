"""Comparisons move before layers that only move values: concatenation and permutation."""

from __future__ import annotations

import keras
import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Sign, Threshold
from keras_sbn.folding.rules.reshapes import mapped
from keras_sbn.folding.thresholds import trimmed


class MoveThresholdBeforeConcatenate:
    """threshold(concat(a, b)) => concat(threshold(a), threshold(b)), each with its own parameters."""

    def apply(self, graph: Graph, node: Node) -> bool:
        joined = _call_before(graph, node, keras.layers.Concatenate)
        if joined is None or any(size is None for size in node.shape[1:]):
            return False
        axis = joined.op.operation.axis % len(node.shape) - 1  # type: ignore[union-attr]
        if axis < 0:
            return False
        ends = np.cumsum([source.shape[axis + 1] for source in joined.inputs])
        moved = []
        for index, (source, end) in enumerate(zip(joined.inputs, ends, strict=True)):
            size = int(source.shape[axis + 1] or 0)
            part = slice(int(end) - size, int(end))

            def taken(parameter: np.ndarray, part: slice = part) -> np.ndarray:
                full = np.broadcast_to(parameter, node.shape[1:])  # type: ignore[arg-type]
                return trimmed(full[(slice(None),) * axis + (part,)])

            name = graph.new_name(f"{node.name}_{index}")
            moved.append(Node(name, mapped(node.op, taken), [source], source.shape))  # type: ignore[arg-type]
        graph.exchange(node, joined, moved)
        return True


class MoveThresholdBeforePermute:
    """threshold(permute(x)) => permute(threshold(x)), with the parameters permuted back."""

    def apply(self, graph: Graph, node: Node) -> bool:
        permute = _call_before(graph, node, keras.layers.Permute)
        if permute is None or any(size is None for size in node.shape[1:]):
            return False
        order = np.argsort(permute.op.operation.dims)  # type: ignore[union-attr]

        def permuted(parameter: np.ndarray) -> np.ndarray:
            full = np.broadcast_to(parameter, node.shape[1:])  # type: ignore[arg-type]
            return trimmed(full.transpose(order))

        source = permute.input
        moved = Node(node.name, mapped(node.op, permuted), [source], source.shape)  # type: ignore[arg-type]
        graph.exchange(node, permute, [moved])
        return True


def _call_before(graph: Graph, node: Node, kind: type) -> Node | None:
    """The call of a layer of this kind that `node`, a sign or a threshold, alone reads."""
    if not isinstance(node.op, Sign | Threshold):
        return None
    call = node.input
    if not (isinstance(call.op, KerasCall) and call.op.kind is kind):
        return None
    return call if graph.has_one_use(call) else None
