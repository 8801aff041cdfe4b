"""From the nodes of a rewritten graph to Keras layers with their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sbn.folding import layers, ops
from keras_sbn.folding.affine_maps import multiplied_out
from keras_sbn.folding.copies import copy_of
from keras_sbn.folding.graph import Node
from keras_sbn.folding.thresholds import between_grid_points, on_grid, round_up_to_float32, trimmed
from keras_sbn.folding.value_ranges import grid


class LayerMaker:
    """Makes the Keras layer of a node; a layer that the original shares stays shared."""

    def __init__(self) -> None:
        self._copies: dict[int, Any] = {}

    def __call__(self, node: Node) -> tuple[Any, Callable[[], None] | None]:
        """Returns the layer, and what gives it its weights once it has been called, if it has any."""
        if isinstance(node.op, ops.KerasCall):
            return self._copy(node.op.operation, node.name)
        layer, weights = _folded_layer(node)
        return layer, None if weights is None else lambda: layer.set_weights(weights)

    def _copy(self, operation: Any, name: str) -> tuple[Any, Callable[[], None] | None]:
        known = self._copies.get(id(operation))
        if known is not None:
            return known, None
        copy, load = copy_of(operation, name)
        self._copies[id(operation)] = copy
        return copy, load


def _folded_layer(node: Node) -> tuple[Any, list[np.ndarray] | None]:
    op = node.op
    if isinstance(op, ops.BinaryConv):
        kind = getattr(layers, type(op).__name__)
        pads = op.pad_values if len(np.unique(op.pad_values)) > 1 else op.pad_values[:1]
        conv = kind(
            filters=op.kernel.shape[-1],
            kernel_size=op.kernel.shape[:-2],
            strides=op.strides,
            padding=op.padding,
            pad_per_channel=pads.size > 1,
            dilation_rate=op.dilation_rate,
            groups=op.groups,
            name=node.name,
        )
        return conv, [op.kernel.astype("int8"), pads.astype("float32")]
    if isinstance(op, ops.BinaryConv2DTranspose):
        transpose = layers.BinaryConv2DTranspose(
            filters=op.kernel.shape[-2],
            kernel_size=op.kernel.shape[:2],
            strides=op.strides,
            padding=op.padding,
            output_padding=op.output_padding,
            dilation_rate=op.dilation_rate,
            name=node.name,
        )
        return transpose, [op.kernel.astype("int8")]
    if isinstance(op, ops.BinaryDense):
        return layers.BinaryDense(op.kernel.shape[-1], name=node.name), [op.kernel]
    if isinstance(op, ops.Threshold):
        return _threshold(node, op)
    if isinstance(op, ops.Affine):
        affine = multiplied_out(op)
        offset = affine.offset - affine.scale * affine.center
        scale, offset = np.broadcast_arrays(affine.scale, offset)
        parameters = _full(node, scale.astype("float32"), offset.astype("float32"))
        return layers.Affine(axes=parameters[0].ndim, name=node.name), parameters
    if isinstance(op, ops.Sign):
        return layers.Sign(name=node.name), None
    if isinstance(op, ops.Reshape):
        return keras.layers.Reshape(op.target, name=node.name), None
    raise TypeError(f"Expected an operation of the fold. Received: {op!r}")


def _threshold(node: Node, op: ops.Threshold) -> tuple[Any, list[np.ndarray]]:
    values = grid(node.input)
    directed = bool((op.direction < 0).any())
    integer = values is not None and values.steps == 1
    if values is None:
        threshold = round_up_to_float32(op.threshold)
    elif integer:
        threshold = on_grid(op.threshold, values).astype("int32")
    else:
        threshold = between_grid_points(op.threshold, values).astype("float32")
    parameters = _full(node, threshold, *([op.direction.astype("int8")] if directed else []))
    layer = layers.Threshold(integer=integer, directed=directed, axes=parameters[0].ndim, name=node.name)
    return layer, parameters


def _full(node: Node, *parameters: np.ndarray) -> list[np.ndarray]:
    """Parameters of the sizes of the node's last axes, of as few axes as all of them allow."""
    short = [trimmed(np.asarray(parameter)) for parameter in parameters]
    axes = max(parameter.ndim for parameter in short)
    sizes = node.shape[len(node.shape) - axes :]
    return [np.broadcast_to(parameter, sizes) for parameter in short]  # type: ignore[arg-type]
