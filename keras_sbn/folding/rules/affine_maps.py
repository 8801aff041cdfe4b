"""Two affine maps in a row are one."""

from __future__ import annotations

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine


class MergeAffineMaps:
    """``s2 (s1 (x - c1) + o1 - c2) + o2 = s1 s2 (x - c1) + s2 (o1 - c2) + o2``.

    Bias followed by batch normalization is one case. There s1 = 1, o1 = 0, and the center keeps the
    bias and the mean apart from beta: ``x - (c1 + c2)`` with the offset of the second map alone.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        outer = node.op
        if not isinstance(outer, Affine) or not isinstance(node.input.op, Affine):
            return False
        inner = node.input.op
        if (inner.scale == 1).all() and (inner.offset == 0).all():
            node.op = Affine(inner.center + outer.center, outer.scale, outer.offset)
        else:
            offset = outer.scale * (inner.offset - outer.center) + outer.offset
            node.op = Affine(inner.center, inner.scale * outer.scale, offset)
        node.inputs = [node.input.input]
        return True
