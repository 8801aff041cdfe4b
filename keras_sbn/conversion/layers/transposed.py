"""Transposed convolutions as the stock TRANSPOSE_CONV.

Where it has no input it adds 0, which is the 0 of a ±1 value stored as it is, of zero point 0. With a
threshold t, an integer, its sum a of ±1 products becomes a binary value by saturation alone, so no fused
activation is needed, which the operator has from version 4 on: the output has scale 1/255 and zero point
127, and

    127 + 255 (a - t)    clipped to [-128, 127]    is 127 where a >= t and -128 where a <= t - 1

which stand for 0 and -1. A QUANTIZE to scale 1 stores them as the portable target does.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.layers.activations import activated, fused_name
from keras_sbn.conversion.layers.linear import array, bias_of, in_order
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import BINARY, QuantParams, int32, quantized_kernel
from keras_sbn.conversion.registry import Call, calibrated, lowers
from keras_sbn.folding.ops import BinaryConv2DTranspose

#: Its two ends are a step of 1 apart.
_SATURATED = QuantParams(float(np.float32(1 / 255)), 127)


def _parts(call: Call) -> tuple[np.ndarray, np.ndarray, Window]:
    """Kernel `(height, width, channels, filters)`, bias and geometry.

    Raises:
        LoweringError: If the layer is dilated or has its channels first.
    """
    layer: Any = call.op
    rate, data_format = layer.dilation_rate, getattr(layer, "data_format", "channels_last")
    if set(np.atleast_1d(rate).tolist()) != {1} or data_format != "channels_last":
        name = getattr(layer, "name", call.layer)
        raise LoweringError(
            "Expected a transposed convolution without dilation, channels last, as TRANSPOSE_CONV has "
            f"it. Received: {name!r} with dilation_rate={rate}, data_format={data_format!r}. Take a "
            "larger kernel without dilation, or an UpSampling2D and a convolution."
        )
    kernel = array(layer.kernel).transpose(0, 1, 3, 2)
    return kernel, bias_of(layer, kernel.shape[-1]), Window(tuple(layer.strides), layer.padding)


@lowers(keras.layers.Conv2DTranspose, BinaryConv2DTranspose, int8=calibrated)
def _transposed(call: Call) -> Tensor:
    kernel, bias, window = _parts(call)
    x = call.input
    if call.output.quant is None:
        inputs = (
            call.emitter.constant("kernel", in_order(kernel).astype(np.float32)),
            call.emitter.constant("bias", bias.astype(np.float32)),
        )
        activation = getattr(call.op, "activation", None)
        linear = fused_name(activation) == "none"
        output = call.output if linear else call.output.also(suffix="linear")
        y = call.emitter.transposed_convolution(x, *inputs, output, window)
        return activated(call, y, activation, call.output)
    factor, offset = call.affine
    kernel, bias = kernel * factor, bias * factor + offset
    weights, scales, constant = quantized_kernel(kernel, bias, x.params, call.output.quant)
    constant = constant.astype(np.int64 if x.dtype == "int16" else np.int32)
    inputs = (
        call.emitter.constant("kernel", in_order(weights), scales.tolist()),
        call.emitter.constant("bias", constant, (np.float32(x.params.scale) * scales).tolist()),
    )
    # Beyond its range int8 ends, and a ReLU with it; int16 is as wide on both sides.
    relu = call.activation if x.dtype == "int16" else "none"
    output = call.output if relu == "none" else call.output.also(suffix="linear")
    y = call.emitter.transposed_convolution(x, *inputs, output, window)
    return y if relu == "none" else call.emitter.unary(relu.upper(), y, call.output)


def fused_threshold(call: Call, x: Tensor, thresholds: np.ndarray) -> Tensor:
    """Emits a binary transposed convolution with thresholds inside, in the form of `BINARY`.

    Args:
        call: The fused convolution.
        x: Its input, ±1 as int8.
        thresholds: Integers, one a filter: lower bounds.
    """
    kernel, _, window = _parts(call)
    ones = [1.0] * kernel.shape[-1]
    saturated = call.emitter.transposed_convolution(
        x,
        call.emitter.constant("kernel", in_order(kernel).astype(np.int8), ones),
        call.emitter.constant("bias", int32(-thresholds), ones),
        call.output.also(quant=_SATURATED, suffix="saturated", binary=True),
        window,
    )
    return call.emitter.quantize(saturated, call.output.also(quant=BINARY))
