"""A float convolution over steps is one over an image of height 1."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.graph import Graph, Node, reshaped
from keras_sbn.folding.ops import KerasCall, call_of
from keras_sbn.folding.rules.self_binarizing_layers import as_row

_KINDS = {
    keras.layers.Conv1D: keras.layers.Conv2D,
    keras.layers.DepthwiseConv1D: keras.layers.DepthwiseConv2D,
}


class Conv1DToConv2D:
    """conv1d(x) => reshape(conv2d(reshape(x))), behind zeros before the first step where it is causal."""

    kinds = frozenset(_KINDS)

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall) or node.op.kind not in _KINDS:
            return False
        layer: Any = node.op.operation
        if layer.data_format != "channels_last" or None in node.shape[1:]:
            return False
        row = as_row(node.input, graph.new_name(f"{node.name}_row"))
        if layer.padding == "causal":
            row = _after_zeros(row, layer.dilation_rate[0] * (layer.kernel_size[0] - 1), node.name)
        call = call_of(_over_rows(layer, node.op.kind, row))
        conv = Node(node.name, call, [row], (node.shape[0], 1, *node.shape[1:]))
        graph.replace(node, reshaped(conv, graph.new_name(f"{node.name}_steps"), node.shape))
        return True


def _after_zeros(row: Node, steps: int, name: str) -> Node:
    batch, height, width, channels = row.shape
    assert width is not None
    padding = keras.layers.ZeroPadding2D(((0, 0), (steps, 0)), name=f"{name}_zeros")
    return Node(padding.name, call_of(padding), [row], (batch, height, width + steps, channels))


def _over_rows(layer: Any, kind: Any, row: Node) -> Any:
    """The layer over rows, with the kernel and bias of the one over steps."""
    same = ("filters", "groups", "depth_multiplier", "activation", "use_bias", "name")
    made = _KINDS[kind](
        kernel_size=(1, *layer.kernel_size),
        strides=(1, *layer.strides),
        dilation_rate=(1, *layer.dilation_rate),
        padding="valid" if layer.padding == "causal" else layer.padding,
        **{argument: getattr(layer, argument) for argument in same if hasattr(layer, argument)},
    )
    made.build(row.shape)
    kernel, *bias = (ops.convert_to_numpy(weight) for weight in layer.weights)
    made.set_weights([kernel[None], *bias])
    return made
