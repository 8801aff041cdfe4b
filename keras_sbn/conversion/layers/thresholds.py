"""Integer sums that are compared with thresholds inside the int8 convolution that computes them.

The first layer of an 8-bit image x and an int8 kernel w sums integers, ``a = conv(x, w)``, and

    a >= t   <=>   clamp(a - t, -1, 0) = 0

so one int8 CONV_2D of scales 1, with the int32 bias -t and the fused RELU_N1_TO_1, writes the binary
value as the portable target stores it. No float is rounded before the first sign, so every processor
decides alike. A uint8 image becomes int8 by a zero point of -128, which is also the 0 that the native
padding pads with; another value, such as the 255 that is 1 once the image is rescaled, is written around
the image.

Where a sign or threshold is all that reads another linear layer of int8 values, nothing is rounded after
the products either: the int32 sum a of int8 products, in units ``u = input scale * kernel scale`` of its
channel, is compared,

    direction * (u a + bias) >= t   <=>   a' >= T = ceil((t - direction * bias) / u)

with a' the sum of the kernel ``direction * kernel``. For the operator the input scale cancels: the
kernel's scale is written as one over it, so that the sum is multiplied by 1.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.conversion import operators
from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.fused import FusedThreshold
from keras_sbn.conversion.geometry import leaves_values_over, margins_of, uniform_padding, window_of
from keras_sbn.conversion.layers.linear import (
    Linear,
    identity,
    integer_convolution,
    linear_of,
    per_channel,
    shaped,
)
from keras_sbn.conversion.layers.padding import padded, padded_binary
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.quantization import (
    BINARY,
    IMAGE,
    largest_weight,
    quantized_kernel,
    reach,
)
from keras_sbn.conversion.registry import Call
from keras_sbn.folding.ops import BinaryConv, Sign, Threshold


def first_layer(call: Call, x: Tensor, suffix: str) -> Tensor:
    """Emits the convolution of an image with thresholds inside, in the form of `BINARY`.

    Args:
        call: The fused convolution; what it pads with are values of the image.
        x: The int8 tensor of the image.
        suffix: What to add to the name of the tensor.
    """
    fused, op = call.node.op, call.op
    assert isinstance(fused, FusedThreshold)
    assert isinstance(op, BinaryConv)
    quant = x.quant or IMAGE
    window, size, pad_value = window_of(op), op.kernel.shape[:2], uniform_padding(op)
    native = window.padding == "valid" or (window.padding == "same" and pad_value == 0)
    if not native or leaves_values_over(x.shape[1:3], size, window):
        if pad_value is None:
            positions = call.output.shape[1:3]
            x = padded_binary(call.emitter, call.layer, op, x, quant.stored, positions)
        else:
            margins = margins_of(x.shape[1:3], size, window)
            x = padded(call.emitter, call.layer, x, margins, quant.stored(pad_value))
        window = Window(window.strides, "valid", window.dilation_rate)
    filters = op.kernel.shape[-1]
    ones = [1.0] * filters
    kernel = np.ascontiguousarray(op.kernel.transpose(3, 0, 1, 2))
    thresholds = np.broadcast_to(fused.threshold, (filters,))
    return operators.convolution(
        call.emitter,
        x,
        call.constant("kernel", kernel, ones),
        call.constant("bias", (-thresholds).astype(np.int32), ones),
        call.output.also(quant=BINARY, suffix=suffix),
        window,
        "relu_n1_to_1",
    )


def rounded_inputs(call: Call, x: Tensor, suffix: str) -> Tensor:
    """Emits a linear layer of int8 values with the comparison of its sums, in the form of `BINARY`."""
    assert isinstance(call.node.op, FusedThreshold)
    linear = linear_of(call.inner, call.node, call.layer)
    assert linear is not None
    return _compared(call, linear, call.node.op, x, suffix)


def value(call: Call, x: Tensor, suffix: str) -> Tensor:
    """Emits the sign or threshold of an int8 value, in the form of `BINARY`."""
    return _compared(call, identity(call.output.shape), call.node.op, x, suffix)


def _compared(call: Call, linear: Linear, comparison: object, x: Tensor, suffix: str) -> Tensor:
    assert isinstance(comparison, Sign | Threshold)
    assert x.quant is not None
    channels = linear.kernel.shape[-1]
    threshold, direction = np.zeros(channels), np.ones(channels)
    if isinstance(comparison, Threshold):
        found = per_channel(comparison, channels)
        assert found is not None
        threshold, direction = found
    directed = linear.scaled(direction, np.zeros(channels))
    largest = largest_weight(int(np.prod(linear.kernel.shape[:-1])))
    if (np.abs(linear.kernel) == 1).all():
        largest = 1
    input_scale, zeros = x.quant.scale, np.zeros(channels)
    weights, scales, _ = quantized_kernel(directed.kernel, zeros, x.quant, largest=largest)
    units = input_scale * scales.astype(np.float64)
    with np.errstate(over="ignore"):
        least = np.ceil((threshold - directed.bias) / units)
    # A bias beyond the reachable sums decides as one a step beyond them, and overflows.
    farthest = reach(weights, x.quant) + 1
    least = np.clip(least, -farthest, farthest).astype(np.int32)
    ones = np.full(channels, np.float32(1 / input_scale))
    output = call.output.also(quant=BINARY, suffix=suffix)
    y = integer_convolution(call, linear, x, weights, ones, -least, output, "relu_n1_to_1")
    return shaped(call, y, output.shape, output)
