"""Pooling over steps is pooling over an image of height 1."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.folding.graph import Graph, Node, reshaped
from keras_sbn.folding.ops import KerasCall, call_of
from keras_sbn.folding.rules.self_binarizing_layers import as_row

_POOLS = {
    keras.layers.MaxPooling1D: keras.layers.MaxPooling2D,
    keras.layers.AveragePooling1D: keras.layers.AveragePooling2D,
}
_GLOBAL_POOLS = {
    keras.layers.GlobalMaxPooling1D: keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalAveragePooling1D: keras.layers.GlobalAveragePooling2D,
}


class Pool1DToPool2D:
    """pool1d(x) => reshape(pool2d(reshape(x))), so that it meets the convolutions in two dimensions."""

    kinds = frozenset({*_POOLS, *_GLOBAL_POOLS})

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind not in self.kinds:
            return False
        source = node.input
        steps, channels = source.shape[1:]
        if layer.data_format != "channels_last" or steps is None or channels is None:
            return False
        row = as_row(source, graph.new_name(f"{node.name}_row"))
        pool, shape = _two_dimensional(layer, kind, node)
        pooled = Node(node.name, call_of(pool), [row], shape)
        if shape == node.shape:
            graph.replace(node, pooled)
        else:
            name = graph.new_name(f"{node.name}_steps")
            graph.replace(node, reshaped(pooled, name, node.shape))
        return True


def _two_dimensional(layer: Any, kind: Any, node: Node) -> tuple[Any, tuple[int | None, ...]]:
    common = {"name": node.name, "dtype": layer.dtype_policy}
    if kind in _GLOBAL_POOLS:
        shape = (node.shape[0], node.shape[-1])
        return _GLOBAL_POOLS[kind](data_format="channels_last", **common), shape
    pool = _POOLS[kind](
        (1, *_one(layer.pool_size)),
        strides=(1, *_one(layer.strides)),
        padding=layer.padding,
        data_format="channels_last",
        **common,
    )
    return pool, (node.shape[0], 1, *node.shape[1:])


def _one(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
