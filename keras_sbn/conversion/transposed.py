"""Transposed convolutions as the stock TRANSPOSE_CONV.

Where it has no input it adds 0, which is the 0 of a ±1 value stored as it is, of zero point 0. With a
threshold t, an integer, its sum a of ±1 products becomes a binary value by saturation alone, so no fused
activation is needed, which the operator learnt late: the output has scale 1/255 and zero point 127, and

    127 + 255 (a - t)    clipped to [-128, 127]    is 127 where a >= t and -128 where a <= t - 1

which stand for 0 and -1. A QUANTIZE to scale 1 stores them as the portable target does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion.integer_layer import BINARY
from keras_sbn.conversion.lowering import Lowering, LoweringError, static_shape
from keras_sbn.conversion.options import PADDING
from keras_sbn.conversion.quantization import Scale, int32
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2DTranspose, KerasCall

if TYPE_CHECKING:
    from keras_sbn.conversion.binary_lowering import BinaryLowering

#: Its two ends are a step of 1 apart.
_SATURATED = Scale(float(np.float32(1 / 255)), 127)
_WITH_BIAS = 3


def transposed_kernel(node: Node) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """Kernel `(height, width, channels, filters)`, bias and geometry, or `None` for any other layer.

    Raises:
        LoweringError: If the layer is dilated or has its channels first.
    """
    op = node.op
    layer = op.operation if isinstance(op, KerasCall) else None
    if isinstance(op, BinaryConv2DTranspose):
        kernel = op.kernel.astype(np.float64)
        bias, geometry = np.zeros(kernel.shape[2]), op
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        if layer.activation is not keras.activations.linear:
            return None
        kernel = ops.convert_to_numpy(layer.kernel).astype(np.float64)
        bias = np.zeros(kernel.shape[2])
        if layer.use_bias:
            bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
        geometry = layer
    else:
        return None
    plain = tuple(np.atleast_1d(geometry.dilation_rate).tolist()) in ((1,), (1, 1))
    if not plain or getattr(geometry, "data_format", "channels_last") != "channels_last":
        raise LoweringError(
            "Expected a transposed convolution without dilation, channels last, as TRANSPOSE_CONV has "
            f"it. Received: {node.name!r} with dilation_rate={geometry.dilation_rate}, "
            f"data_format={getattr(geometry, 'data_format', 'channels_last')!r}"
        )
    return kernel.transpose(0, 1, 3, 2), bias, geometry


def emit_transposed(
    low: Lowering,
    node: Node,
    geometry: Any,
    source: int,
    kernel: int,
    bias: int,
    name: str,
    suffix: str = "",
    scale: Scale | None = None,
    binary: bool = False,
) -> int:
    """Emits TRANSPOSE_CONV of float32 or int8 tensors."""
    shape = static_shape(node)
    height, width = geometry.strides
    fields = {"padding": PADDING[geometry.padding], "strideH": height, "strideW": width}
    return low.emit(
        node.name,
        "TRANSPOSE_CONV",
        [low.constant(node.name, "shape", np.array(shape, np.int32)), kernel, source, bias],
        shape,
        name=name,
        suffix=suffix,
        dtype="float32" if scale is None else "int8",
        options=("TransposeConv", fields),
        version=_WITH_BIAS,
        quantization=scale,
        binary=binary,
    )


def stored(kernel: np.ndarray) -> np.ndarray:
    """A kernel `(height, width, channels, filters)` in the order of the operator."""
    return np.ascontiguousarray(kernel.transpose(3, 0, 1, 2))


def lower_transposed(low: Lowering, node: Node, layer: Any) -> int:
    """Emits a float32 transposed convolution of linear activation."""
    found = transposed_kernel(node)
    if found is None:
        raise LoweringError(
            f"Expected a transposed convolution of linear activation. Received: {node.name!r} with "
            f"activation={layer.activation.__name__!r}. Put the activation into a layer of its own."
        )
    kernel, bias, geometry = found
    weights = low.constant(node.name, "kernel", stored(kernel).astype(np.float32))
    constant = low.constant(node.name, "bias", bias.astype(np.float32))
    return emit_transposed(low, node, geometry, low.real(node.input), weights, constant, node.name)


def transposed_decision(
    low: BinaryLowering, node: Node, op: BinaryConv2DTranspose, reader: Node, thresholds: np.ndarray
) -> int:
    """Emits a binary transposed convolution with thresholds inside, as the portable binary value.

    `thresholds` are integers, one a filter; `_is_fused` sees to it that they are lower bounds.
    """
    found = transposed_kernel(node)
    assert found is not None
    filters = op.kernel.shape[2]
    kernel = stored(found[0]).astype(np.int8)
    ones = [1.0] * filters
    saturated = emit_transposed(
        low,
        node,
        op,
        low.int8(node.input).tensor,
        low.constant(node.name, "kernel", kernel, ones),
        low.constant(node.name, "bias", int32(-thresholds), ones),
        reader.name,
        "saturated",
        _SATURATED,
        binary=True,
    )
    return low.emit(
        node.name,
        "QUANTIZE",
        [saturated],
        static_shape(node),
        name=reader.name,
        dtype="int8",
        options=("Quantize", {}),
        version=2,
        quantization=BINARY,
    )
