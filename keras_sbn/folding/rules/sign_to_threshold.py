"""An affine map before a sign becomes a comparison with a constant."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.kinds import integer_bound, is_binary
from keras_sbn.folding.ops import Affine, Sign
from keras_sbn.folding.thresholds import threshold_of


class SignToThreshold:
    """sign(affine(x)) => threshold(x); sign(integer) => threshold(integer); sign(±1) => ±1.

    `keras_sbn.folding.thresholds` has the derivation.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Sign):
            return False
        source = node.input
        if is_binary(source):
            graph.replace(node, source)
            return True
        if isinstance(source.op, Affine):
            node.op = threshold_of(source.op, integer_bound(source.input))
            node.inputs = [source.input]
            return True
        bound = integer_bound(source)
        channels = source.shape[-1]
        if bound is None or channels is None:
            return False
        zeros = np.zeros(channels)
        node.op = threshold_of(Affine(zeros, np.ones(channels), zeros), bound)
        return True
