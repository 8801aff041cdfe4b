"""A binary dense layer over the last axis of a map is a 1 x 1 convolution."""

from __future__ import annotations

import math

import numpy as np

from keras_sbn.folding.graph import Graph, Node, reshaped
from keras_sbn.folding.ops import BinaryConv2D, BinaryDense
from keras_sbn.folding.value_ranges import is_binary


class DenseToPointwiseConv:
    """dense(x) => reshape(conv(reshape(x))) for x of shape `(batch, ..., features)`.

    A dense layer multiplies the last axis at every position alike, and so does a convolution with a
    1 x 1 window, whatever the positions are called: they are laid out as a map of height 1.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, BinaryDense) or not is_binary(node.input):
            return False
        sizes = [int(size or 0) for size in node.shape[1:-1]]
        if not all(sizes):
            return False
        features, units = node.op.kernel.shape
        batch, positions = node.shape[0], math.prod(sizes)
        source = node.input
        if len(sizes) != 2:
            sizes = [1, positions]
            source = reshaped(source, graph.new_name(f"{node.name}_row"), (batch, *sizes, features))
        conv = BinaryConv2D(
            node.op.kernel.reshape(1, 1, features, units), (1, 1), "valid", np.zeros(1), (1, 1), 1
        )
        product = Node(node.name, conv, [source], (batch, *sizes, units))
        if product.shape != node.shape:
            product = reshaped(product, graph.new_name(f"{node.name}_map"), node.shape)
        graph.replace(node, product)
        return True
