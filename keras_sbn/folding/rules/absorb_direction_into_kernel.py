"""A comparison in the other direction negates the kernel before it."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import BinaryConv2DTranspose, Product, Threshold


class AbsorbDirectionIntoKernel:
    """``-conv(x, w) >= t`` => ``conv(x, -w) >= t``, channel by channel.

    A convolution is linear in its kernel, border included whatever it is padded with, so negating the
    kernel of a channel negates its accumulator exactly. Only for a product that nothing else reads.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, Threshold) or not (node.op.direction < 0).any():
            return False
        product = node.input
        if not isinstance(product.op, Product):
            return False
        if not graph.has_one_use(product):
            return False
        if node.op.direction.ndim > 1:
            return False
        direction = node.op.direction
        if isinstance(product.op, BinaryConv2DTranspose):
            direction = direction[:, np.newaxis]
        product.op.kernel = product.op.kernel * direction
        node.op.direction = np.ones_like(node.op.direction)
        return True
