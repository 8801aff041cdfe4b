"""A dense layer of ±1 or of pixels is a convolution whose window is the whole feature map."""

from __future__ import annotations

import numpy as np

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import BinaryConv2D, BinaryDense, Reshape
from keras_sbn.folding.value_ranges import is_binary, is_image


class DenseToConv2D:
    """dense(flatten(x)) => flatten(conv(x)), and dense(x) => flatten(conv(reshape(x))).

    Flattening a `(h, w, c)` map puts value (i, j, k) at (i * w + j) * c + k, the order in which a kernel
    `(h * w * c, units)` reshapes to `(h, w, c, units)`; a "valid" convolution with it has one position
    and the same sum there. A vector is the map of height and width 1. Inference engines have binary
    kernels for convolutions and none for dense layers, and so do integer first layers.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, BinaryDense) or len(node.shape) != 2:
            return False
        source = node.input
        if not (is_binary(source) or is_image(source)):
            return False
        features, units = node.op.kernel.shape
        if isinstance(source.op, Reshape) and len(source.input.shape) == 4:
            source = source.input
        else:
            shape = (source.shape[0], 1, 1, features)
            source = Node(
                graph.new_name(f"{node.name}_pixel"), Reshape((1, 1, features)), [source], shape
            )
        window = (*(int(size or 0) for size in source.shape[1:]), units)
        conv = BinaryConv2D(node.op.kernel.reshape(window), (1, 1), "valid", np.zeros(1), (1, 1), 1)
        product = Node(node.name, conv, [source], (node.shape[0], 1, 1, units))
        flat = Node(graph.new_name(f"{node.name}_flatten"), Reshape((units,)), [product], node.shape)
        graph.replace(node, flat)
        return True
