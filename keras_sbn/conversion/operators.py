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
from keras_sbn.tflite.options import ACTIVATION, BIAS_TYPE, PADDING

#: Options tables of operators of two inputs that are not named as these, and of one input that have one.
_BINARY = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum"}
_UNARY = {"ABS": "Abs", "DEQUANTIZE": "Dequantize", "EXP": "Exp", "NEG": "Neg"}


@dataclass(frozen=True)
class Window:
    """How a window of a convolution or a pool moves over a map."""

    strides: tuple[int, ...] = (1, 1)
    padding: str = "valid"
    dilation_rate: tuple[int, ...] = (1, 1)

    def fields(self) -> dict[str, Any]:
        """As TFLite's operators have them."""
        return {
            "padding": PADDING[self.padding],
            "strideH": self.strides[0],
            "strideW": self.strides[1],
        }

    def lce_fields(self) -> dict[str, int]:
        """As the operators of the Larq Compute Engine have them."""
        height, width = self.strides
        return {"padding": PADDING[self.padding], "stride_height": height, "stride_width": width}


class Operators(Emitter):
    """A method an operator: it adds the operator, with its constants, and returns what it writes."""

    def convolution(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor,
        output: Output,
        window: Window,
        activation: str = "none",
        depthwise: bool = False,
    ) -> Tensor:
        """CONV_2D or DEPTHWISE_CONV_2D.

        The kernel is `(filters, height, width, depth)`, with groups where the depth divides the channels,
        or `(1, height, width, channels * multiplier)`.
        """
        version = {"float32": 1, "int8": 3, "int16": 5 if depthwise else 4}[x.dtype]
        fields = {
            **window.fields(),
            "dilationHFactor": window.dilation_rate[0],
            "dilationWFactor": window.dilation_rate[1],
            "fusedActivationFunction": ACTIVATION[activation],
        }
        inputs = [x, kernel, bias]
        if depthwise:
            if x.dtype == "float32" and window.dilation_rate != (1, 1):
                version = 2
            if kernel.dtype == "int4":
                version = 7
            fields["depthMultiplier"] = kernel.shape[-1] // x.shape[-1]
            return self.emit("DEPTHWISE_CONV_2D", inputs, output, "DepthwiseConv2D", fields, version)
        if x.dtype == "float32" != kernel.dtype:
            version = 2
        if x.dtype == "int16" and bias.dtype == "int32":
            version, fields["quantizedBiasType"] = 8, BIAS_TYPE
        elif kernel.dtype == "int4":
            version = 7
        elif x.shape[-1] != kernel.shape[-1]:
            version = 6
        return self.emit("CONV_2D", inputs, output, "Conv2D", fields, version)

    def transposed_convolution(
        self, x: Tensor, kernel: Tensor, bias: Tensor, output: Output, window: Window
    ) -> Tensor:
        """TRANSPOSE_CONV; the kernel is `(filters, height, width, channels)`."""
        inputs = [self._integers("shape", output.shape), kernel, x, bias]
        return self.emit("TRANSPOSE_CONV", inputs, output, "TransposeConv", window.fields(), 3)

    def fully_connected(
        self, x: Tensor, kernel: Tensor, bias: Tensor | None, output: Output, activation: str = "none"
    ) -> Tensor:
        """FULLY_CONNECTED; the kernel is `(units, features)`, in int8 arithmetic of 8, 4 or 2 bits."""
        keep = len(output.shape) > 2
        fields = {"fusedActivationFunction": ACTIVATION[activation], "keepNumDims": keep}
        version = {"int2": 14, "int4": 10}.get(kernel.dtype, 5 if keep else 1)
        return self.emit("FULLY_CONNECTED", [x, kernel, bias], output, "FullyConnected", fields, version)

    def pool(
        self, operator: str, x: Tensor, output: Output, window: Window, size: Sequence[int]
    ) -> Tensor:
        """MAX_POOL_2D or AVERAGE_POOL_2D, or LceBMaxPool2d of bits."""
        if x.dtype == "int32":
            bits = {**window.lce_fields(), "filter_height": size[0], "filter_width": size[1]}
            return self.emit("LceBMaxPool2d", [x], output, fields=bits)
        fields = {**window.fields(), "filterHeight": size[0], "filterWidth": size[1]}
        return self.emit(operator, [x], output, "Pool2D", fields)

    def reduction(
        self, operator: str, x: Tensor, axes: Sequence[int], output: Output, keep_dims: bool
    ) -> Tensor:
        """MEAN, SUM, REDUCE_MAX or REDUCE_MIN over some axes."""
        inputs = [x, self._integers("axes", axes)]
        return self.emit(operator, inputs, output, "Reducer", {"keepDims": keep_dims})

    def elementwise(
        self,
        operator: str,
        x: Tensor,
        y: Tensor | np.ndarray | float,
        output: Output,
        activation: str = "none",
    ) -> Tensor:
        """ADD, SUB, MUL, DIV, MAXIMUM or MINIMUM of two tensors that broadcast, or of one and numbers."""
        version = None
        if not isinstance(y, Tensor):
            y = self.constant(f"{operator.lower()}_constant", np.asarray(y).astype(np.float32))
        if operator == "MUL" and x.dtype == "int8" and x.quant and y.quant and output.quant:
            version = 3 if x.quant.scale * y.quant.scale / output.quant.scale >= 1 else None
        fields: dict[str, Any] = {}
        if activation != "none":
            fields["fusedActivationFunction"] = ACTIVATION[activation]
        if x.dtype == "int16" and operator in ("ADD", "SUB"):
            # Otherwise TFLite asks for scales of which one is that of the output.
            fields["potScaleInt16"] = False
        table = _BINARY.get(operator, operator.capitalize())
        return self.emit(operator, [x, y], output, table, fields, version)

    def unary(self, operator: str, x: Tensor, output: Output) -> Tensor:
        """RELU, RELU6, LOGISTIC, TANH, ELU, ABS, NEG, ROUND, ...

        DEQUANTIZE and LceDequantize as well: integers as numbers, and bits as ±1 in float32 or int8; and
        LceQuantize: the signs of float32 values, or of int8 ones less their zero point, as bits.
        """
        return self.emit(operator, [x], output, _UNARY.get(operator))

    def softmax(self, x: Tensor, output: Output) -> Tensor:
        """SOFTMAX over the last axis."""
        return self.emit("SOFTMAX", [x], output, "Softmax", {"beta": 1.0})

    def leaky_relu(self, x: Tensor, slope: float, output: Output) -> Tensor:
        """LEAKY_RELU: ``slope * x`` where x is negative."""
        version = 2 if x.dtype == "int16" else 1
        return self.emit("LEAKY_RELU", [x], output, "LeakyRelu", {"alpha": slope}, version)

    def prelu(self, x: Tensor, slopes: np.ndarray, output: Output) -> Tensor:
        """PRELU with slopes that broadcast against a sample."""
        return self.emit("PRELU", [x, self.constant("alpha", slopes)], output)

    def concatenation(self, parts: Sequence[Tensor], axis: int, output: Output) -> Tensor:
        """CONCATENATION along an axis."""
        return self.emit("CONCATENATION", parts, output, "Concatenation", {"axis": axis})

    def reshape(self, x: Tensor, output: Output) -> Tensor:
        """RESHAPE to the shape of the output, of as many samples as come in."""
        shape = self._integers("shape", [-1, *output.shape[1:]])
        return self.emit("RESHAPE", [x, shape], output, "Reshape")

    def pad(
        self,
        x: Tensor,
        widths: Sequence[tuple[int, int]],
        output: Output,
        value: np.ndarray | None = None,
    ) -> Tensor:
        """PAD with the real number 0, or PADV2 with a value as the tensor stores it."""
        inputs = [x, self._integers("pad_widths", widths)]
        if value is None:
            return self.emit("PAD", inputs, output, "Pad")
        scale, zero_point, *_ = output.quant or (None, 0)
        inputs.append(self.constant("pad_value", value, scale, zero_point))
        return self.emit("PADV2", inputs, output, "PadV2")

    def slice_of(
        self, x: Tensor, begin: Sequence[int], output: Output, strides: Sequence[int] = ()
    ) -> Tensor:
        """SLICE: as many values as the output has from `begin` on; STRIDED_SLICE: `strides` apart.

        A stride below 0 goes backwards.
        """
        if all(stride == 1 for stride in strides):
            first = self._integers("begin", begin)
            size = self._integers("size", [-1, *output.shape[1:]])
            return self.emit("SLICE", [x, first, size], output, "Slice")
        steps = zip(begin, x.shape, output.shape, strides, strict=True)
        end = [_end(*step) for step in steps]
        named = (("begin", begin), ("end", end), ("strides", strides))
        inputs = [x, *(self._integers(suffix, values) for suffix, values in named)]
        return self.emit("STRIDED_SLICE", inputs, output, "StridedSlice")

    def transpose(self, x: Tensor, order: Sequence[int], output: Output) -> Tensor:
        """TRANSPOSE."""
        return self.emit("TRANSPOSE", [x, self._integers("order", order)], output, "Transpose")

    def resize_nearest(self, x: Tensor, output: Output) -> Tensor:
        """RESIZE_NEAREST_NEIGHBOR to whole multiples: rows and columns are repeated."""
        inputs = [x, self._integers("sizes", output.shape[1:3])]
        return self.emit("RESIZE_NEAREST_NEIGHBOR", inputs, output, "ResizeNearestNeighbor")

    def quantize(self, x: Tensor, output: Output) -> Tensor:
        """QUANTIZE: float32 to integers, or integers to another scale or type."""
        version = 2 if output.stored_type == "int16" else 1
        return self.emit("QUANTIZE", [x], output, "Quantize", version=version)

    def lce_convolution(
        self,
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
            **window.lce_fields(),
        }
        return self.emit("LceBconv2d", inputs, output, fields=fields)

    def gelu(self, x: Tensor, output: Output, approximate: bool = False) -> Tensor:
        """GELU by the error function, or by tanh."""
        return self.emit("GELU", [x], output, "Gelu", {"approximate": approximate})

    def _integers(self, suffix: str, values: Sequence[Any]) -> Tensor:
        """Adds a constant of int32, such as sizes or axes."""
        return self.constant(suffix, np.array(values, np.int32))


def _end(first: int, size: int, count: int, stride: int) -> int:
    """Where a strided slice of `count` values ends, the last one not taken."""
    last = first + (count - 1) * stride
    if stride > 0:
        return last + 1
    # Before the first value of the axis; -1 would be the last one.
    return last - 1 if last > 0 else -size - 1
