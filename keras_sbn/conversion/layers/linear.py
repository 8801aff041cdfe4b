"""Convolutions, dense layers and affine maps: ``kernel * x + bias``.

In int8 every linear layer is a CONV_2D or DEPTHWISE_CONV_2D, whose weights have a scale an output
channel. FULLY_CONNECTED has that only from version 12 on, so a dense layer is a 1 x 1 convolution there.
What follows a linear layer and only scales its channels, or is a ReLU, is part of the same operator: a
factor and an offset go into kernel and bias, and a ReLU is where the int8 range ends.

Where numbers are int16, 8 bits of a kernel are less than its inputs have. A kernel that 8 bits do not
hold is then two of them, the second what the first leaves over, and the results are added.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.geometry import (
    margins_of,
    pads_itself,
    static_shape,
    uniform_padding,
    window_of,
)
from keras_sbn.conversion.layers.activations import activated, fused_name
from keras_sbn.conversion.layers.exact_kernels import power_of_two, stored_kernel
from keras_sbn.conversion.layers.padding import padded
from keras_sbn.conversion.layers.shapes import require_channels_last
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import HIGHEST, QuantParams, quantized_kernel, reach
from keras_sbn.conversion.registry import Call, calibrated, lowers
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import Affine, BinaryConv2D, BinaryDense, IntegerConv2D, KerasCall, Threshold
from keras_sbn.folding.thresholds import trimmed

K = keras.layers

#: A kernel that 8 bits hold up to this share of its largest weight is held as well as float32 holds it.
_AS_GOOD_AS_EXACT = 2.0**-22
#: Sums up to here fit int32, and twice as much as well, which runtimes make of them on the way.
_INT32 = 2**30 - 1


@dataclass(frozen=True)
class Linear:
    """``kernel * x + bias`` in float64, the kernel `(height, width, depth, filters)`.

    `depthwise` says that filter i reads channel ``i // multiplier`` alone; the depth is 1 then. The
    operator runs on maps of the shape `source` and gives `target`, which may be reshaped layers.
    """

    kernel: np.ndarray
    bias: np.ndarray
    source: tuple[int, ...]
    target: tuple[int, ...]
    depthwise: bool = False
    window: Window = Window()  # noqa: RUF009 (frozen)
    pad_value: float = 0.0

    def scaled(self, factor: np.ndarray, offset: np.ndarray) -> Linear:
        """``factor * self + offset``, one of each a filter."""
        return replace(self, kernel=self.kernel * factor, bias=self.bias * factor + offset)


def linear_of(op: Any, node: Node, name: str) -> Linear | None:
    """A node that computes `op`, of a layer of this name, as a linear layer over maps, if it is one.

    Raises:
        LoweringError: If its channels come first, or are padded with different values.
    """
    shape = static_shape(node)
    if isinstance(op, Affine):
        parameters = per_channel(op, shape[-1])
        return None if parameters is None else identity(shape).scaled(*parameters)
    layer, kind = (op.operation, op.kind) if isinstance(op, KerasCall) else (op, type(op))
    require_channels_last(layer)
    if kind in (K.Dense, BinaryDense):
        kernel, positions = array(layer.kernel), int(np.prod(shape[:-1]))
        rows, results = ((1, 1, positions, size) for size in kernel.shape)
        return Linear(kernel[None, None], bias_of(layer, shape[-1]), rows, results)
    if kind not in (K.Conv2D, K.DepthwiseConv2D, BinaryConv2D, IntegerConv2D):
        return None
    kernel, depthwise = array(layer.kernel), kind is K.DepthwiseConv2D
    if depthwise:
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    pad_value = 0.0 if isinstance(op, KerasCall) else _pad_value(name, op)
    bias, source = bias_of(layer, kernel.shape[-1]), static_shape(node.input)
    return Linear(kernel, bias, source, shape, depthwise, window_of(layer), pad_value)


def linear_of_call(call: Call) -> Linear:
    """What a call computes, which is known to be a linear layer."""
    linear = linear_of(call.inner, call.node, call.layer)
    assert linear is not None
    return linear


def _pad_value(name: str, op: BinaryConv2D | IntegerConv2D) -> float:
    value = uniform_padding(op)
    if op.padding != "valid" and value is None:
        raise LoweringError(
            "Expected one padding value for all channels. Received: "
            f"{name!r} padded with {sorted(set(op.pad_values.tolist()))}. Scale the channels of the "
            "image alike."
        )
    return value or 0.0


def identity(shape: tuple[int, ...]) -> Linear:
    """A value itself, as a linear layer over its channels."""
    channels = shape[-1]
    as_map = shape if len(shape) == 4 else (1, 1, int(np.prod(shape[:-1])), channels)
    return Linear(np.ones((1, 1, 1, channels)), np.zeros(channels), as_map, as_map, depthwise=True)


def per_channel(op: Affine | Threshold, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and offset of an affine map, or threshold and direction, if there is one a channel."""
    if isinstance(op, Affine):
        pair = (op.scale, op.offset - op.scale * op.center)
    else:
        pair = (op.threshold, op.direction)
    first, second = (trimmed(np.asarray(value, np.float64)) for value in pair)
    if max(first.ndim, second.ndim) > 1:
        return None
    return np.broadcast_to(first, (channels,)), np.broadcast_to(second, (channels,))


def array(weight: Any) -> np.ndarray:
    """A weight of Keras or of the fold in float64."""
    return ops.convert_to_numpy(weight).astype(np.float64)


def bias_of(layer: Any, filters: int) -> np.ndarray:
    """The bias of a layer of Keras or of the fold in float64; 0 where it has none."""
    return array(layer.bias) if getattr(layer, "use_bias", False) else np.zeros(filters)


@lowers(K.Conv2D, K.DepthwiseConv2D, K.Dense, int8=calibrated)
@lowers(BinaryConv2D, IntegerConv2D, BinaryDense, int8=calibrated)
def _linear(call: Call) -> Tensor:
    if call.output.quant is not None:
        return _in_int8(call)
    activation = getattr(call.op, "activation", None)
    fused = fused_name(activation)
    output = call.output if fused is not None else call.output.also(suffix="linear")
    write = _fully_connected if isinstance(call.op, K.Dense | BinaryDense) else _float_convolution
    x = write(call, output, fused or "none")
    return x if fused is not None else activated(call, x, activation, call.output)


def _affine_int8(call: Call) -> QuantParams | None:
    return None if per_channel(call.op, call.output.shape[-1]) is None else calibrated(call)


@lowers(Affine, int8=_affine_int8)
def _affine(call: Call) -> Tensor:
    """Two operators, and not the multiplier and bias of the convolution before them.

    The runtimes fuse those with other constants and round differently, while a product and a sum round
    as Keras rounds them.
    """
    if call.output.quant is not None:
        return _in_int8(call)
    offset = call.op.offset - call.op.scale * call.op.center
    return scaled(call, call.input, call.op.scale, offset)


@lowers(K.Rescaling)
def _rescaling(call: Call) -> Tensor:
    return scaled(call, call.input, call.op.scale, call.op.offset)


def scaled(call: Call, x: Tensor, scale: Any, offset: Any) -> Tensor:
    """Emits ``scale * x + offset`` in float32, rounded as Keras rounds them."""
    product = call.emitter.elementwise("MUL", x, scale, call.output.also(suffix="product"))
    return call.emitter.elementwise("ADD", product, offset, call.output)


def _float_convolution(call: Call, output: Output, activation: str) -> Tensor:
    linear = linear_of_call(call)
    x, window = _with_padding(call, linear, call.input)
    kernel = stored_kernel(call, in_order(linear.kernel, linear.depthwise))
    bias = call.emitter.constant("bias", linear.bias.astype(np.float32))
    return call.emitter.convolution(x, kernel, bias, output, window, activation, linear.depthwise)


def _fully_connected(call: Call, output: Output, activation: str) -> Tensor:
    kernel, values = array(call.op.kernel), bias_of(call.op, 0)
    weights = stored_kernel(call, kernel.T)
    bias = call.emitter.constant("bias", values.astype(np.float32)) if values.any() else None
    return call.emitter.fully_connected(call.input, weights, bias, output, activation)


def _with_padding(call: Call, linear: Linear, x: Tensor) -> tuple[Tensor, Window]:
    """Emits the padding that the operator does not do itself: on all sides, with 0."""
    window, size = linear.window, linear.kernel.shape[:2]
    if pads_itself(linear.source[1:3], size, window, linear.pad_value):
        return x, window
    value = np.array(linear.pad_value, np.float32)
    if x.quant is not None:
        value = x.quant.stored(linear.pad_value)
    margins = margins_of(linear.source[1:3], size, window)
    return padded(call, x, margins, value), replace(window, padding="valid")


def in_order(kernel: np.ndarray, depthwise: bool = False) -> np.ndarray:
    """A kernel `(height, width, depth, filters)` in the order of its operator."""
    return np.ascontiguousarray(kernel.transpose((2, 0, 1, 3) if depthwise else (3, 0, 1, 2)))


def _in_int8(call: Call) -> Tensor:
    return rounded(call, linear_of_call(call).scaled(*call.affine), call.input)


def rounded(call: Call, linear: Linear, x: Tensor, largest: int = HIGHEST) -> Tensor:
    """Emits a linear layer whose sums are rounded; factor and offset are in it already."""
    output, activation = call.output, call.activation
    most = _exact_largest(linear.kernel, largest) if x.dtype == "int16" else largest
    weights, scales, bias = quantized_kernel(linear.kernel, linear.bias, x.params, output.quant, most)
    rest: np.ndarray = linear.kernel - weights * scales.astype(np.float64)
    if x.dtype != "int16" or np.abs(rest).max() <= _AS_GOOD_AS_EXACT * np.abs(linear.kernel).max():
        y = integer_convolution(call, linear, x, weights, scales, bias, output, activation)
        return shaped(call, y, output)
    parts = []
    for suffix, of_part in (("coarse", linear.kernel - rest), ("rest", rest)):
        values = linear.bias if suffix == "rest" else np.zeros_like(linear.bias)
        stored = quantized_kernel(of_part, values, x.params, output.quant)
        part = output.also(suffix=suffix)
        parts.append(integer_convolution(call, linear, x, *stored, part, "none"))
    as_map = output.also(shape=parts[0].shape, suffix="" if parts[0].shape == output.shape else "map")
    coarse, fine = parts
    y = call.emitter.elementwise("ADD", coarse, fine, as_map, activation)
    return shaped(call, y, output)


def _exact_largest(kernel: np.ndarray, largest: int) -> np.ndarray:
    """What the largest weight of a filter becomes, so that all are a power of two times integers.

    That is where 8 bits hold them all; elsewhere it is `largest`.
    """
    found = np.full(kernel.shape[-1], largest)
    for index in range(kernel.shape[-1]):
        step = power_of_two(kernel[..., index])
        if step is not None:
            most = np.abs(kernel[..., index]).max() / step
            found[index] = most * 2 ** int(np.log2(largest / most)) if most <= largest else most
    return found


def integer_convolution(
    call: Call,
    linear: Linear,
    x: Tensor,
    weights: np.ndarray,
    scales: np.ndarray,
    bias: np.ndarray,
    output: Output,
    activation: str,
) -> Tensor:
    """Emits CONV_2D or DEPTHWISE_CONV_2D of int8 weights `(height, width, depth, filters)`."""
    source = Output(call.layer, linear.source, x.quant, suffix="map")
    quant = x.params
    x, window = _with_padding(call, linear, shaped(call, x, source))
    groups = linear.source[-1] // weights.shape[2]
    depthwise = linear.depthwise or (groups > 1 and weights.shape[2] == 1)
    as_layer = linear.target == static_shape(call.node)
    suffix = output.suffix if as_layer else "_".join(part for part in (output.suffix, "map") if part)
    kernel = in_order(weights, depthwise)
    stored = call.emitter.constant("kernel", kernel, scales.tolist(), axis=3 if depthwise else 0)
    bias_scales = np.float32(quant.scale) * scales
    if x.dtype == "int16" and (depthwise or (np.abs(bias) + reach(weights, quant) > _INT32).any()):
        bias = bias.astype(np.int64)
    constant = call.emitter.constant("bias", bias, bias_scales.tolist())
    output = output.also(shape=linear.target, suffix=suffix)
    return call.emitter.convolution(x, stored, constant, output, window, activation, depthwise)


def shaped(call: Call, x: Tensor, output: Output) -> Tensor:
    """Emits a reshape where an operator sees a layer's values as a map of another shape."""
    return x if x.shape == output.shape else call.emitter.reshape(x, output.also(quant=x.quant))
