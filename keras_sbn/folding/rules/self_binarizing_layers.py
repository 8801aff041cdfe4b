"""Training layers become signs, integer convolutions and matrix products."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, BinaryConv2D, BinaryDense, KerasCall, Sign
from keras_sbn.layers import (
    SelfBinarizingActivation,
    SelfBinarizingConv2D,
    SelfBinarizingDense,
)
from keras_sbn.layers.base import SelfBinarizingKernelLayer


class LowerSelfBinarizingLayers:
    """SelfBinarizing layer => [Sign =>] integer product with ±1 [=> bias as an affine map].

    A layer of infinite sharpness computes ``sign(x)`` and ``sign(w)`` and nothing else, so this is its
    definition written out. A bias b is ``1 * (a - (-b)) + 0``.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer = node.op.operation
        if isinstance(layer, SelfBinarizingActivation):
            node.op = Sign()
            graph.signs[node.name] = node
            return True
        if not isinstance(layer, SelfBinarizingKernelLayer):
            return False
        if not layer.binarize_kernel:
            raise ValueError(
                f"Expected layer {layer.name!r} to have a binary kernel. Received: "
                "binarize_kernel=False. Use Keras's own layer for one that is to stay float."
            )
        source = node.input
        if layer.binarize_input:
            source = Node(f"{node.name}_sign", Sign(), [source], source.shape)
            graph.signs[source.name] = source
        product = Node(node.name, _product(layer), [source], node.shape)
        result = product
        if layer.bias is not None:
            bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
            affine = Affine(-bias, np.ones_like(bias), np.zeros_like(bias))
            result = Node(f"{node.name}_bias", affine, [product], node.shape)
        graph.replace(node, result)
        return True


def _product(layer: SelfBinarizingKernelLayer) -> BinaryConv2D | BinaryDense:
    kernel = layer.binary_kernel()
    if isinstance(layer, SelfBinarizingDense):
        return BinaryDense(kernel)
    if isinstance(layer, SelfBinarizingConv2D):
        if layer.data_format != "channels_last":
            raise ValueError(
                f"Expected layer {layer.name!r} to have channels last, the only order the inference "
                f"kernels know. Received: data_format={layer.data_format!r}"
            )
        return BinaryConv2D(
            kernel,
            layer.strides,
            layer.padding,
            np.array([layer.pad_value], np.float64),
            layer.dilation_rate,
            layer.groups,
        )
    raise ValueError(
        f"Expected a layer that can be folded. Received: {type(layer).__name__} {layer.name!r}"
    )
