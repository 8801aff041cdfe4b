"""Float layers that move values, and activations with parameters, as stock TFLite operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_sbn.conversion.lowering import Lowering, LoweringError, Options, static_shape
from keras_sbn.folding.graph import Node


def prelu(low: Lowering, node: Node, layer: Any) -> int:
    """``x`` where it is positive, ``alpha x`` elsewhere; alpha broadcasts against a sample."""
    alpha = low.constant(node.name, "alpha", ops.convert_to_numpy(layer.alpha).astype(np.float32))
    return low.emit(node.name, "PRELU", [low.real(node.input), alpha], static_shape(node))


def leaky_relu(low: Lowering, node: Node, layer: Any) -> int:
    """A PReLU of one alpha."""
    options: Options = ("LeakyRelu", {"alpha": float(layer.negative_slope)})
    return low.emit(node.name, "LEAKY_RELU", [low.real(node.input)], static_shape(node), options=options)


def elu(low: Lowering, node: Node, layer: Any) -> int:
    """``x`` where it is positive, ``exp(x) - 1`` elsewhere."""
    if layer.alpha != 1:
        raise LoweringError(f"Expected an ELU of alpha 1. Received: {node.name!r}, alpha={layer.alpha}")
    return low.emit(node.name, "ELU", [low.real(node.input)], static_shape(node))


def permute(low: Lowering, node: Node, layer: Any) -> int:
    """Transposes the axes of a sample."""
    order = low.constant(node.name, "order", np.array([0, *layer.dims], np.int32))
    inputs = [low.real(node.input), order]
    return low.emit(node.name, "TRANSPOSE", inputs, static_shape(node), options=("Transpose", {}))


def cropping(low: Lowering, node: Node, layer: Any) -> int:
    """Cuts rows and columns off the border."""
    _require_channels_last(node, layer)
    begin = np.array([0, layer.cropping[0][0], layer.cropping[1][0], 0], np.int32)
    inputs = [
        low.real(node.input),
        low.constant(node.name, "begin", begin),
        low.constant(node.name, "size", np.array(static_shape(node), np.int32)),
    ]
    return low.emit(node.name, "SLICE", inputs, static_shape(node), options=("Slice", {}))


def up_sampling(low: Lowering, node: Node, layer: Any) -> int:
    """Repeats rows and columns."""
    _require_channels_last(node, layer)
    if layer.interpolation != "nearest":
        raise LoweringError(
            "Expected upsampling that repeats values. Received: "
            f"{node.name!r} with interpolation={layer.interpolation!r}"
        )
    sizes = low.constant(node.name, "sizes", np.array(static_shape(node)[1:3], np.int32))
    options: Options = ("ResizeNearestNeighbor", {})
    inputs = [low.real(node.input), sizes]
    return low.emit(node.name, "RESIZE_NEAREST_NEIGHBOR", inputs, static_shape(node), options=options)


def _require_channels_last(node: Node, layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise LoweringError(
            "Expected channels last, the only order of the inference kernels. Received: "
            f"{node.name!r} with data_format={layer.data_format!r}"
        )
