"""A float first convolution on 8-bit images is quantized to int8."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, IntegerConv2D, KerasCall
from keras_sbn.folding.rules.rescaling import rescaled_integers
from keras_sbn.folding.value_ranges import grid

_LARGEST = 127


class QuantizeFirstLayer:
    """conv(image, w) => scale * conv(image, k) with int8 k, one scale a filter, ``w ~ scale * k``.

    The only rule that changes values: ``|w - scale * k| <= scale / 2``, with ``scale = max |w| / 127``.
    It is not among the default ones. What it gives is a product of integers, so that nothing is rounded
    after it: batch normalization becomes an integer threshold, and every device decides alike.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or node.op.kind is not keras.layers.Conv2D:
            return False
        layer = node.op.operation
        image = node.input
        if grid(image) is None and rescaled_integers(image) is None:
            return False
        if layer.data_format != "channels_last":
            return False
        if layer.activation is not keras.activations.linear:
            return False
        kernel = ops.convert_to_numpy(layer.kernel).astype(np.float64)
        scale = np.abs(kernel).max(axis=(0, 1, 2)) / _LARGEST
        scale = np.where(scale > 0, scale, 1.0)
        conv = IntegerConv2D(
            np.round(kernel / scale).astype(np.int8),
            layer.strides,
            layer.padding,
            np.zeros(1),
            layer.dilation_rate,
            layer.groups,
        )
        offset = np.zeros_like(scale)
        if layer.use_bias:
            offset = ops.convert_to_numpy(layer.bias).astype(np.float64)
        product = Node(node.name, conv, [node.input], node.shape)
        affine = Affine(np.zeros_like(scale), scale, offset)
        graph.replace(node, Node(graph.new_name(f"{node.name}_scale"), affine, [product], node.shape))
        return True
