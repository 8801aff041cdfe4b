"""Two affine maps in a row are one."""

from __future__ import annotations

from keras_sbn.folding.affine_maps import joined
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine


class JoinAffineMaps:
    """affine(affine(x)) => affine(x), the parameters of both kept as they are.

    They are not multiplied out: a sign that comes to stand behind them, from beyond a pool perhaps, is to
    be decided as the model decides it. `keras_sbn.folding.thresholds` has the derivation.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Affine) or not isinstance(node.input.op, Affine):
            return False
        node.op = joined(node.input.op, node.op)
        node.inputs = [node.input.input]
        return True
