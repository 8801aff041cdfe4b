"""A sign, and an affine map before it, become a comparison with a constant."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, Sign, Threshold
from keras_sbn.folding.thresholds import carried_back, threshold_of
from keras_sbn.folding.value_ranges import grid, is_binary


class AbsorbAffineIntoThreshold:
    """sign(affine(x)) => threshold(x); sign(grid value) => threshold 0; sign(±1) => ±1.

    `keras_sbn.folding.thresholds` has the derivation. The sign of a real value stays a sign. A threshold
    that has moved to an affine map, from behind a pool or a reshape, takes it in as well.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if isinstance(node.op, Threshold) and isinstance(node.input.op, Affine):
            node.op = carried_back(node.op, node.input.op)
            node.inputs = [node.input.input]
            return True
        if not isinstance(node.op, Sign):
            return False
        source = node.input
        if is_binary(source):
            graph.replace(node, source)
            return True
        if isinstance(source.op, Affine):
            node.op = threshold_of(source.op)
            node.inputs = [source.input]
            return True
        channels = source.shape[-1]
        if grid(source) is None or channels is None:
            return False
        node.op = Threshold(np.zeros(channels), np.ones(channels, np.int8))
        return True
