"""A sign, and an affine map before it, become a comparison with a constant."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding import arithmetic, thresholds
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, Sign, Threshold
from keras_sbn.folding.value_ranges import grid, is_binary


class AbsorbAffineIntoThreshold:
    """sign(affine(x)) => threshold(x); sign(grid value) => threshold 0; sign(±1) => ±1.

    `keras_sbn.folding.thresholds` has the derivation, and `keras_sbn.folding.arithmetic` that of
    ``x * c`` and the like. The sign of a real value stays a sign. A threshold that has moved to an affine
    map, from behind a pool or a reshape, takes it in as well.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Sign | Threshold):
            return False
        source = node.input
        if isinstance(node.op, Sign) and is_binary(source):
            graph.replace(node, source)
            return True
        found = _before(source, _comparison(node))
        if found is not None:
            node.op, compared = found
            node.inputs = [compared]
            return True
        channels = source.shape[-1]
        if isinstance(node.op, Threshold) or grid(source) is None or channels is None:
            return False
        node.op = Threshold(np.zeros(channels), np.ones(channels, np.int8))
        return True


def _comparison(node: Node) -> Threshold:
    """A sign is a comparison with 0."""
    return node.op if isinstance(node.op, Threshold) else Threshold(np.zeros(1), np.ones(1, np.int8))


def _before(node: Node, comparison: Threshold) -> tuple[Threshold, Node] | None:
    """The comparison that equals one of a node's value, and what it compares, or `None`."""
    if isinstance(node.op, Affine):
        return thresholds.carried_back(comparison, node.op), node.input
    return arithmetic.comparison_before(comparison, node)
