"""Folded layers are read back as what they compute."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding import layers
from keras_sbn.folding.computation import averages, operation_class
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
    Op,
    Placeholder,
    Sign,
    Threshold,
)


class ReadFoldedLayers:
    """A layer of `keras_sbn.folding.layers` becomes the operation it was made from.

    So a folded model folds to itself, and conversion reads a folded model whether it has just been made
    or comes from a file.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        if node.op.kind is _CAST and self._is_before_a_pool(graph, node):
            graph.replace(node, node.input)
            return True
        found = _operation(node.op.operation, node.op.kind)
        if found is None:
            return False
        node.op = found
        return True

    def _is_before_a_pool(self, graph: Graph, node: Node) -> bool:
        """Whether a cast of integers is the one that `graph.build` puts before an average pool."""
        source = node.input.op
        if not isinstance(source, Placeholder) or keras.backend.is_float_dtype(source.dtype):
            return False
        readers = [reader.op for reader in graph.consumers(node)]
        pools = [isinstance(op, KerasCall) and averages(op.kind) for op in readers]
        return all(pools) and not graph.is_output(node)


_CAST = operation_class(keras.ops.cast, keras.KerasTensor((1,), "uint8"), "float32")
_CONVOLUTIONS = {
    layers.BinaryConv2D: BinaryConv2D,
    layers.BinaryConv3D: BinaryConv3D,
    layers.IntegerConv2D: IntegerConv2D,
}


def _operation(layer: Any, kind: type | None) -> Op | None:
    if kind in _CONVOLUTIONS:
        return _CONVOLUTIONS[kind](
            ops.convert_to_numpy(layer.kernel),
            layer.strides,
            layer.padding,
            ops.convert_to_numpy(layer.pad_values).astype(np.float64),
            layer.dilation_rate,
            layer.groups,
        )
    if kind is layers.BinaryConv2DTranspose:
        return BinaryConv2DTranspose(
            ops.convert_to_numpy(layer.kernel),
            layer.strides,
            layer.padding,
            layer.output_padding,
            layer.dilation_rate,
        )
    if kind is layers.BinaryDense:
        return BinaryDense(ops.convert_to_numpy(layer.kernel))
    if kind is layers.Threshold:
        threshold = ops.convert_to_numpy(layer.threshold).astype(np.float64)
        # int32 has no infinity, so "always" and "never" come back as one step beyond the grid.
        direction = np.ones(threshold.shape, np.int8)
        if layer.direction is not None:
            direction = ops.convert_to_numpy(layer.direction)
        return Threshold(threshold, direction)
    if kind is layers.Affine:
        scale = ops.convert_to_numpy(layer.scale).astype(np.float64)
        offset = ops.convert_to_numpy(layer.offset).astype(np.float64)
        return Affine(np.zeros_like(scale), scale, offset)
    if kind is layers.Sign:
        return Sign()
    return None
