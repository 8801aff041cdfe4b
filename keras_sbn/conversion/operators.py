"""Every operator that a file can hold, once: its inputs, its options and its version.

The versions are those of TFLite's op_version.cc: the first one of the operator that can compute with
these types and options. A runtime refuses a file that asks for a version it does not have, so a number
too high shuts older runtimes out, and one too low lets them compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.conversion.emitter import Emitter, Output, Tensor
from keras_sbn.conversion.operator_versions import version_of
from keras_sbn.tflite.options import ACTIVATION, BIAS_TYPE, PADDING

_TABLES = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum"}
#: Elementwise operators of one input, with the options table of those that have one.
_UNARY = {"ABS": "Abs", "EXP": "Exp", "HARD_SWISH": "HardSwish", "NEG": "Neg", "RSQRT": None}


def _version(operator: str, tensor: Tensor) -> int:
    return version_of(operator, tensor.dtype)


@dataclass(frozen=True)
class Window:
    """How a window of a convolution or a pool moves over a map."""

    strides: tuple[int, ...] = (1, 1)
    padding: str = "valid"
    dilation_rate: tuple[int, ...] = (1, 1)

    def fields(self) -> dict[str, Any]:
        return {
            "padding": PADDING[self.padding],
            "strideH": self.strides[0],
            "strideW": self.strides[1],
        }

    def fields_with_dilation(self) -> dict[str, Any]:
        return {
            **self.fields(),
            "dilationHFactor": self.dilation_rate[0],
            "dilationWFactor": self.dilation_rate[1],
        }


def convolution(
    emitter: Emitter,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor,
    output: Output,
    window: Window,
    activation: str = "none",
    depthwise: bool = False,
) -> Tensor:
    """CONV_2D or DEPTHWISE_CONV_2D.

    The kernel is `(filters, height, width, depth)`, with groups where the depth divides the channels, or
    `(1, height, width, channels * multiplier)`.
    """
    version = {"float32": 1, "int8": 3, "int16": 5 if depthwise else 4}[x.dtype]
    fields = {**window.fields_with_dilation(), "fusedActivationFunction": ACTIVATION[activation]}
    inputs = [x, kernel, bias]
    if depthwise:
        if x.dtype == "float32" and window.dilation_rate != (1, 1):
            version = 2
        if kernel.dtype == "int4":
            version = 7
        fields["depthMultiplier"] = kernel.shape[-1] // x.shape[-1]
        options = ("DepthwiseConv2D", fields)
        return emitter.emit("DEPTHWISE_CONV_2D", inputs, output, options, version)
    if x.dtype == "float32" != kernel.dtype:
        version = 2
    if x.dtype == "int16" and bias.dtype == "int32":
        version, fields["quantizedBiasType"] = 8, BIAS_TYPE
    elif kernel.dtype == "int4":
        version = 7
    elif x.shape[-1] != kernel.shape[-1]:
        version = 6
    return emitter.emit("CONV_2D", inputs, output, ("Conv2D", fields), version)


def transposed_convolution(
    emitter: Emitter, x: Tensor, kernel: Tensor, bias: Tensor, output: Output, window: Window
) -> Tensor:
    """TRANSPOSE_CONV; the kernel is `(filters, height, width, channels)`."""
    shape = emitter.constant(output.layer, "shape", np.array(output.shape, np.int32))
    inputs = [shape, kernel, x, bias]
    return emitter.emit("TRANSPOSE_CONV", inputs, output, ("TransposeConv", window.fields()), 3)


def fully_connected(
    emitter: Emitter,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    output: Output,
    activation: str = "none",
) -> Tensor:
    """FULLY_CONNECTED; the kernel is `(units, features)`, in int8 arithmetic of 8, 4 or 2 bits."""
    keep = len(output.shape) > 2
    fields = {"fusedActivationFunction": ACTIVATION[activation], "keepNumDims": keep}
    options = ("FullyConnected", fields)
    version = {"int2": 14, "int4": 10}.get(kernel.dtype, 5 if keep else 1)
    return emitter.emit("FULLY_CONNECTED", [x, kernel, bias], output, options, version)


def pool(
    emitter: Emitter,
    operator: str,
    x: Tensor,
    output: Output,
    window: Window,
    size: Sequence[int],
) -> Tensor:
    """MAX_POOL_2D or AVERAGE_POOL_2D."""
    fields = {**window.fields(), "filterHeight": size[0], "filterWidth": size[1]}
    return emitter.emit(operator, [x], output, ("Pool2D", fields), _version(operator, x))


def reduction(
    emitter: Emitter,
    operator: str,
    x: Tensor,
    axes: Sequence[int],
    output: Output,
    keep_dims: bool,
) -> Tensor:
    """MEAN, SUM, REDUCE_MAX or REDUCE_MIN over some axes."""
    inputs = [x, emitter.constant(output.layer, "axes", np.array(axes, np.int32))]
    options = ("Reducer", {"keepDims": keep_dims})
    return emitter.emit(operator, inputs, output, options, _version(operator, x))


def elementwise(
    emitter: Emitter, operator: str, x: Tensor, y: Tensor, output: Output, activation: str = "none"
) -> Tensor:
    """ADD, SUB, MUL, DIV, MAXIMUM or MINIMUM of two tensors that broadcast."""
    version = _version(operator, x)
    if operator == "MUL" and x.dtype == "int8" and x.quant and y.quant and output.quant:
        version = 3 if x.quant.scale * y.quant.scale / output.quant.scale >= 1 else version
    fields: dict[str, Any] = {}
    if activation != "none":
        fields["fusedActivationFunction"] = ACTIVATION[activation]
    if x.dtype == "int16" and operator in ("ADD", "SUB"):
        # Otherwise TFLite asks for scales of which one is that of the output.
        fields["potScaleInt16"] = False
    options = (_TABLES.get(operator, operator.capitalize()), fields)
    return emitter.emit(operator, [x, y], output, options, version)


def with_constant(
    emitter: Emitter,
    operator: str,
    x: Tensor,
    value: np.ndarray | float,
    output: Output,
    activation: str = "none",
) -> Tensor:
    """An elementwise operator of a float32 tensor and a constant that broadcasts."""
    stored = np.asarray(value).astype(np.float32)
    constant = emitter.constant(output.layer, f"{operator.lower()}_constant", stored)
    return elementwise(emitter, operator, x, constant, output, activation)


def unary(emitter: Emitter, operator: str, x: Tensor, output: Output) -> Tensor:
    """RELU, RELU6, LOGISTIC, TANH, ELU, ABS, NEG, ROUND, ..."""
    table = _UNARY.get(operator)
    version = _version(operator, x)
    return emitter.emit(operator, [x], output, (table, {}) if table else None, version)


def softmax(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """SOFTMAX over the last axis."""
    return emitter.emit("SOFTMAX", [x], output, ("Softmax", {"beta": 1.0}), _version("SOFTMAX", x))


def leaky_relu(emitter: Emitter, x: Tensor, slope: float, output: Output) -> Tensor:
    """LEAKY_RELU: ``slope * x`` where x is negative."""
    version = 2 if x.dtype == "int16" else 1
    return emitter.emit("LEAKY_RELU", [x], output, ("LeakyRelu", {"alpha": slope}), version)


def prelu(emitter: Emitter, x: Tensor, slopes: np.ndarray, output: Output) -> Tensor:
    """PRELU with slopes that broadcast against a sample."""
    return emitter.emit("PRELU", [x, emitter.constant(output.layer, "alpha", slopes)], output)


def concatenation(emitter: Emitter, parts: Sequence[Tensor], axis: int, output: Output) -> Tensor:
    """CONCATENATION along an axis."""
    options = ("Concatenation", {"axis": axis})
    return emitter.emit("CONCATENATION", parts, output, options, _version("CONCATENATION", parts[0]))


def reshape(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """RESHAPE to the shape of the output, of as many samples as come in."""
    sizes = np.array([-1, *output.shape[1:]], np.int32)
    shape = emitter.constant(output.layer, "shape", sizes)
    return emitter.emit("RESHAPE", [x, shape], output, ("Reshape", {}))


def pad(
    emitter: Emitter,
    x: Tensor,
    widths: Sequence[tuple[int, int]],
    output: Output,
    value: np.ndarray | None = None,
) -> Tensor:
    """PAD with the real number 0, or PADV2 with a value as the tensor stores it."""
    inputs = [x, emitter.constant(output.layer, "pad_widths", np.array(widths, np.int32))]
    if value is None:
        return emitter.emit("PAD", inputs, output, ("Pad", {}), _version("PAD", x))
    scale, zero_point, *_ = output.quant or (None, 0)
    inputs.append(emitter.constant(output.layer, "pad_value", value, scale, zero_point))
    return emitter.emit("PADV2", inputs, output, ("PadV2", {}), _version("PADV2", x))


def slice_of(emitter: Emitter, x: Tensor, begin: Sequence[int], output: Output) -> Tensor:
    """SLICE: the part of the output's shape that starts at `begin`."""
    inputs = [
        x,
        emitter.constant(output.layer, "begin", np.array(begin, np.int32)),
        emitter.constant(output.layer, "size", np.array([-1, *output.shape[1:]], np.int32)),
    ]
    return emitter.emit("SLICE", inputs, output, ("Slice", {}), _version("SLICE", x))


def strided_slice(
    emitter: Emitter, x: Tensor, begin: Sequence[int], strides: Sequence[int], output: Output
) -> Tensor:
    """STRIDED_SLICE: as many values as the output has from `begin` on, `strides` apart."""
    steps = zip(begin, output.shape, strides, strict=True)
    end = [first + (count - 1) * stride + 1 for first, count, stride in steps]
    inputs = [
        x,
        *(
            emitter.constant(output.layer, suffix, np.array(values, np.int32))
            for suffix, values in (("begin", begin), ("end", end), ("strides", strides))
        ),
    ]
    options: tuple[str, dict[str, Any]] = ("StridedSlice", {})
    return emitter.emit("STRIDED_SLICE", inputs, output, options, _version("STRIDED_SLICE", x))


def transpose(emitter: Emitter, x: Tensor, order: Sequence[int], output: Output) -> Tensor:
    """TRANSPOSE."""
    inputs = [x, emitter.constant(output.layer, "order", np.array(order, np.int32))]
    return emitter.emit("TRANSPOSE", inputs, output, ("Transpose", {}), _version("TRANSPOSE", x))


def resize_nearest(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """RESIZE_NEAREST_NEIGHBOR to whole multiples: rows and columns are repeated."""
    sizes = np.array(output.shape[1:3], np.int32)
    inputs = [x, emitter.constant(output.layer, "sizes", sizes)]
    operator = "RESIZE_NEAREST_NEIGHBOR"
    version = _version(operator, x)
    return emitter.emit(operator, inputs, output, ("ResizeNearestNeighbor", {}), version)


def quantize(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """QUANTIZE: float32 to integers, or integers to another scale or type."""
    version = 2 if output.stored_type == "int16" else 1
    return emitter.emit("QUANTIZE", [x], output, ("Quantize", {}), version)


def dequantize(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """DEQUANTIZE: 8 bits to float32."""
    version = _version("DEQUANTIZE", x)
    return emitter.emit("DEQUANTIZE", [x], output, ("Dequantize", {}), version)


def lce_quantize(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """LceQuantize: the signs of float32 values, or of int8 ones less their zero point, as bits."""
    return emitter.emit("LceQuantize", [x], output.also(dtype="int32"))


def lce_dequantize(emitter: Emitter, x: Tensor, output: Output) -> Tensor:
    """LceDequantize: bits as ±1, in float32 or int8."""
    return emitter.emit("LceDequantize", [x], output)


def lce_max_pool(
    emitter: Emitter, x: Tensor, output: Output, window: Window, size: Sequence[int]
) -> Tensor:
    """LceBMaxPool2d: max-pooling of bits."""
    fields = {
        "padding": PADDING[window.padding],
        "stride_width": window.strides[1],
        "stride_height": window.strides[0],
        "filter_width": size[1],
        "filter_height": size[0],
    }
    return emitter.emit("LceBMaxPool2d", [x], output, custom=fields)


def lce_convolution(
    emitter: Emitter,
    inputs: Sequence[Tensor | None],
    output: Output,
    window: Window,
    channels_in: int,
    pad_values: int,
    activation: str = "none",
) -> Tensor:
    """LceBconv2d of bits, kernel, multiplier, bias and threshold, of which some are left out."""
    fields = {
        "channels_in": channels_in,
        "dilation_height_factor": window.dilation_rate[0],
        "dilation_width_factor": window.dilation_rate[1],
        "fused_activation_function": ACTIVATION[activation],
        "pad_values": pad_values,
        "padding": PADDING[window.padding],
        "stride_height": window.strides[0],
        "stride_width": window.strides[1],
    }
    return emitter.emit("LceBconv2d", inputs, output, custom=fields)


def gelu(emitter: Emitter, x: Tensor, output: Output, approximate: bool = False) -> Tensor:
    """GELU by the error function, or by tanh."""
    return emitter.emit("GELU", [x], output, ("Gelu", {"approximate": approximate}))
