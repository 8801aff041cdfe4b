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

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.geometry import margins_of, pads_itself, uniform_padding, window_of
from keras_sbn.conversion.layers.linear import Linear, in_order, integer_convolution, per_channel, shaped
from keras_sbn.conversion.layers.padding import padded, padded_binary
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.quantization import (
    BINARY,
    HIGHEST,
    IMAGE,
    WIDE_INTEGER,
    QuantParams,
    largest_weight,
    quantized_kernel,
    reach,
)
from keras_sbn.conversion.registry import Call
from keras_sbn.folding.ops import BinaryConv, Threshold

_LARGEST_PIXEL = 255


def first_layer(call: Call, x: Tensor, least: np.ndarray, suffix: str) -> Tensor:
    """Emits the convolution of an image with thresholds inside, in the form of `BINARY`.

    Args:
        call: The fused convolution; what it pads with are values of the image.
        x: The int8 tensor of the image.
        least: The least sum of each filter that is +1.
        suffix: What to add to the name of the tensor.
    """
    op, kernel, window = call.op, call.op.kernel, window_of(call.op)
    if not pads_itself(x.shape[1:3], kernel.shape[:2], window, uniform_padding(op)):
        x, kernel, offset = _padded_image(call, op, x)
        least = least + offset
        window = Window(window.strides, "valid", window.dilation_rate)
    return compared_sums(call, x, kernel, least, call.output.also(suffix=suffix), window)


def compared_sums(
    call: Call,
    x: Tensor,
    kernel: np.ndarray,
    least: np.ndarray,
    output: Output,
    window: Window,
    depthwise: bool = False,
    bits: int | None = None,
) -> Tensor:
    """Emits a convolution of integers and the comparison of its sums, in the form of `BINARY`.

    Args:
        call: The convolution.
        x: Its input.
        kernel: Integers `(height, width, depth, filters)`.
        least: The least integer of each filter, or of all, that is +1.
        output: The tensor to write.
        window: How the window moves.
        depthwise: Whether the operator is DEPTHWISE_CONV_2D.
        bits: Bits of a weight; `None` for whole bytes.
    """
    ones, axis = [1.0] * kernel.shape[-1], 3 if depthwise else 0
    stored = call.emitter.constant("kernel", in_order(kernel, depthwise), ones, axis=axis, bits=bits)
    bias = call.emitter.constant("bias", (-least).astype(np.int32), ones)
    binary = output.also(quant=BINARY)
    return call.emitter.convolution(x, stored, bias, binary, window, "relu_n1_to_1", depthwise)


def can_pad_image(op: BinaryConv) -> bool:
    """Whether the image can be padded in 8 bits as a convolution asks for (`_padded_image`)."""
    values = op.pad_values
    if (values != np.round(values)).any():
        return False
    if ((values >= 0) & (values <= _LARGEST_PIXEL)).all():
        return True
    by_tap = np.abs(op.kernel.sum(axis=2, dtype=np.int64)).max()
    beyond = np.abs(values - np.clip(values, 0, _LARGEST_PIXEL)).max()
    return op.groups == 1 and values.size == 1 and bool(by_tap <= HIGHEST and beyond <= _LARGEST_PIXEL)


def _padded_image(call: Call, op: BinaryConv, x: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray | int]:
    """Emits the padding of an image, and returns it with the kernel for it and what to add to the sums.

    What an image of `image / 128 - 1` pads with is +1, which stands for 256: no pixel. It is padded with
    p = 255, the nearest one, and one channel makes up for the rest d: inside the map it is p - d, on the
    padding p. Its weight is the sum of the kernel's weights at that tap, w', so that

        sum of p w + p w' = sum of (p + d) w + (p - d) w'    on the padding

    and every sum is larger by (p - d) times the sum of all w', a constant.
    """
    quant = x.quant or IMAGE
    sizes, pad_value = x.shape[1:3], uniform_padding(op)
    if pad_value is None:
        return padded_binary(call, op, x, quant.stored)[0], op.kernel, 0
    margins = margins_of(sizes, op.kernel.shape[:2], window_of(op))
    pixel = float(np.clip(pad_value, 0, _LARGEST_PIXEL))
    value, kernel, offset = quant.stored(pixel), op.kernel, np.zeros(1)
    if pixel != pad_value:
        inside = pixel - (pad_value - pixel)
        by_tap = op.kernel.sum(axis=2, keepdims=True, dtype=np.int64)
        kernel = np.concatenate([op.kernel, by_tap.astype(np.int8)], axis=2)
        offset = inside * by_tap.sum(axis=(0, 1, 2))
        shape = (*x.shape[:-1], x.shape[-1] + 1)
        output = Output(call.layer, shape, quant, suffix="with_padding_channel")
        widths = [(0, 0), (0, 0), (0, 0), (0, 1)]
        x = call.emitter.pad(x, widths, output, quant.stored(inside))
    return padded(call, x, margins, value), kernel, offset


def compared(call: Call, linear: Linear, comparison: Threshold, x: Tensor, suffix: str) -> Tensor:
    """Emits the comparison of sums of `x`, in the form of `BINARY`; of int16 numbers, as -1 and 0."""
    channels = linear.kernel.shape[-1]
    found = per_channel(comparison, channels)
    assert found is not None
    threshold, direction = found
    directed = linear.scaled(direction, np.zeros(channels))
    input_scale = x.params.scale
    weights, scales = _weights(directed.kernel, x.params)
    units = input_scale * scales
    with np.errstate(over="ignore"):
        least = np.ceil((threshold - directed.bias) / units)
    # A bias beyond the reachable sums decides as one a step beyond them, and overflows.
    farthest = reach(weights, x.params) + 1
    least = np.clip(least, -farthest, farthest).astype(np.int32)
    ones = np.full(channels, np.float32(1 / input_scale))
    quant = BINARY if x.dtype == "int8" else WIDE_INTEGER
    if quant is WIDE_INTEGER:
        suffix = "_".join(part for part in (suffix, "clamped") if part)
    output = call.output.also(quant=quant, suffix=suffix)
    y = integer_convolution(call, linear, x, weights, ones, -least, output, "relu_n1_to_1")
    return shaped(call, y, output)


def _weights(kernel: np.ndarray, source: QuantParams) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights of a kernel `(..., filters)`, and a scale a filter in float64.

    A filter whose weights are all of one magnitude is ±1 times it, which is exact.
    """
    if has_one_magnitude(kernel):
        magnitudes = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)
        return np.sign(kernel).astype(np.int8), np.where(magnitudes > 0, magnitudes, 1.0)
    largest = largest_weight(int(np.prod(kernel.shape[:-1])))
    zeros = np.zeros(kernel.shape[-1])
    weights, scales, _ = quantized_kernel(kernel, zeros, source, largest=largest)
    return weights, scales.astype(np.float64)


def has_one_magnitude(kernel: np.ndarray) -> bool:
    """Whether the weights of every filter are 0 or plus or minus one number."""
    size = np.abs(kernel)
    return bool(((size == 0) | (size == size.max(axis=tuple(range(kernel.ndim - 1))))).all())
