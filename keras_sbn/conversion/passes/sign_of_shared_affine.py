"""A threshold that repeats what an affine map beside it computes."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, Sign, Threshold
from keras_sbn.folding.thresholds import threshold_of
from keras_sbn.folding.value_ranges import grid


class SignOfSharedAffine:
    """threshold(x) => sign(affine(x)), where affine(x) is computed anyway and has that sign.

    The fold lets a sign compare x itself, which is exact where x is a sum of integers. Where x is a real
    number that int8 rounds, nothing is gained by that: with the affine map as the only reader of x, the
    layer that computes x computes the map as well.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Threshold) or grid(node.input) is not None:
            return False
        for reader in graph.consumers(node.input):
            # Stored thresholds are rounded to float32.
            if isinstance(reader.op, Affine) and decides_as_sign(node.op, reader.op, 1e-4):
                graph.replace(node, Node(node.name, Sign(), [reader], node.shape))
                return True
        return False


def decides_as_sign(op: Any, affine: Affine, tolerance: float) -> bool:
    """Whether an operation is the comparison that the sign of an affine map is, up to rounding."""
    meant = threshold_of(affine)
    try:
        return (
            isinstance(op, Threshold)
            and np.allclose(meant.threshold, op.threshold, rtol=tolerance, atol=1e-6)
            and bool((meant.direction == op.direction).all())
        )
    except ValueError:  # of shapes that do not go together
        return False
