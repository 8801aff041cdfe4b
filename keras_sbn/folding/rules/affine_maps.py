"""Two affine maps in a row are one."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine


class MergeAffineMaps:
    """``s2 (s1 (x - c1) + o1 - c2) + o2 = s1 s2 (x - c) + o2`` with ``c = c1 - (o1 - c2) / s1``.

    c is where the inner map reaches the center of the outer one. Written so, s2 takes no part in where
    the result changes its sign when o2 is 0: multiplied and divided by s2, a tie on an integer would be
    one no more. A bias before batch normalization (s1 = 1, o1 = 0) is one case. Where s1 is 0 the inner
    map is constant, and so is the result, ``s2 (o1 - c2) + o2``.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        outer = node.op
        if not isinstance(outer, Affine) or not isinstance(node.input.op, Affine):
            return False
        inner = node.input.op
        constant = inner.scale == 0
        slope = np.where(constant, 1.0, inner.scale)
        difference = inner.offset - outer.center
        center = np.where(constant, 0.0, inner.center - difference / slope)
        offset = np.where(constant, outer.scale * difference + outer.offset, outer.offset)
        node.op = Affine(center, inner.scale * outer.scale, offset)
        node.inputs = [node.input.input]
        return True
