"""Lowering to stock TFLite: one int8 operator a binary layer, exact on any runtime.

A binary value x is stored as ``v = (x - 1) / 2``, -1 or 0, in int8 with scale 1 and zero point 127. With
a kernel w of ±1 in int8, scale 1, and S the sum of a channel's kernel,

    conv(x, w) = conv(2 v + 1, w) = 2 a + S        with the integer a = conv(v, w), so
    conv(x, w) >= t   <=>   a >= tau = ceil((t - S) / 2),   and   v' = clamp(a - tau, -1, 0)

is the next binary value: a CONV_2D with the int32 bias -tau and output scale 1, zero point 127, where
int8 ends and so clamps at 0, and the fused RELU_N1_TO_1 clamps at -1. All scales are 1 and all sums are
integers, so nothing is rounded. Padding, which is with the zero point, pads v with 0 and x with +1.

A border of 0 is that of x itself, ``2 v + 1`` with zero point 0, made from v by one 1 x 1 depthwise
convolution. A border that is -1, in some channels or all, is a constant around the map (`borders`). So
every convolution is ``conv(x, w) = m conv(u, w) + c``: u = v, m = 2, c = S, or u = x, m = 1, c = 0.

Where the sum itself is wanted, by a residual connection or as an output, int8 cannot hold it. Then the
input is v in float32 and the kernel int8 of scale 2, which is how TFLite stores a network of "dynamic
range": the runtime finds the range of the input, rounds it to 8 bits, sums products of 8 bits in int32,
and multiplies with the scales. The range of v is [-1, 0], or [0, 0] where all of x is +1, so however a
runtime lays its 8 bits over it, -1 becomes one whole number, -n, with the scale 1 / n, and 0 becomes 0:
nothing is lost, and n * a is summed exactly. x itself would not do, as no zero point puts -1 and +1 on
steps of 2 / 255. Only scales and products with them are rounded, each by 2^-24 at most of a sum of at
most 2 K, for K products; so for K up to 2^18 (`_MOST_PRODUCTS`) what comes out is nearer to 2 a + S than
1/2, even if 8 roundings add up, and ROUND gives 2 a + S itself. A runtime that computes it in float32
comes to the same. The kernel has one scale and not one a channel: tflite-runtime 2.14 takes equal scales
of channels for 0.

With groups, a border of 0, for which x has to be padded, or more products, the kernel is dequantized to
float32 once, when the model is loaded, and a float32 CONV_2D adds the integers up, exactly below 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_sbn.conversion.binary_lowering import (
    BinaryLowering,
    Obstacle,
    exact_offset,
    integer_thresholds,
)
from keras_sbn.conversion.borders import (
    has_binary_border,
    has_border_of,
    needs_border,
    with_border,
)
from keras_sbn.conversion.float_layers import reshape
from keras_sbn.conversion.int8_layers import (
    Int8,
    Linear,
    emit_linear,
    following_affine,
    following_relu,
)
from keras_sbn.conversion.integer_layer import BINARY
from keras_sbn.conversion.lowering import NO_REASON, Options, Reason, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.conversion.quantization import INTEGER, Scale
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2D, BinaryConv2DTranspose, Sign, Threshold

#: The version of CONV_2D that reads float32 with an int8 kernel.
_DYNAMIC = 2
#: Multiplied by it, every normal float32 number but 0 is at least 2 in magnitude.
_HUGE = np.float32(2.0**127)

#: Sums of so many products are still told apart after the roundings of a dynamic range.
_MOST_PRODUCTS = 2**18

_SUMS = Reason("its sums are an output, or more than a sign reads them", "")

_FLOAT_SUMS = Reason(
    "its sums are an output, or more than a sign reads them; with groups, a border of 0 or more than "
    "2^18 products, ±1 are added up in float32, exactly",
    "train it without groups and with pad_value=1.0, or convert it to target='lce'",
)

_QUANTIZED_SUMS = Reason(
    "its sums are an output, or more than a sign reads them: ±1 are added up exactly, then rounded",
    "target='lce' keeps it binary",
)


@dataclass(frozen=True)
class _Form:
    """How a convolution sees its input: ``conv(x, w) = multiplier * conv(u, w) + constant``."""

    tensor: int
    multiplier: int
    constant: np.ndarray


class TfliteLowering(BinaryLowering):
    """Emits a folded model in stock TFLite operators: binary values are int8."""

    has_float_sums = False
    decision_suffix = ""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._others: dict[tuple[int, str], int] = {}

    def pack(self, node: Node, tensor: int) -> int:
        # +1 would be 128 and is 127 as int8 ends there, -1 is 126.
        return self._quantize_binary(node, tensor, suffix="packed")

    def unpack(self, node: Node, tensor: int) -> int:
        shape = static_shape(node)
        v = self._dequantized(node.name, tensor, shape)
        two, one = np.array(2.0), np.array(1.0)
        twice = self.arithmetic(node.name, "MUL", v, two, shape, suffix="twice")
        return self.arithmetic(node.name, "ADD", twice, one, shape, suffix="unpacked")

    def pack_int8(self, node: Node, tensor: int) -> int:
        return self._quantize_binary(node, tensor, suffix="packed", version=2)

    def unpack_int8(self, node: Node, tensor: int) -> int:
        return self._plain(node)

    def compare_int8(self, node: Node, op: Sign | Threshold) -> int | None:
        return None

    def quantized_sums(self, node: Node, op: BinaryConv2D) -> Node:
        """Emits an int8 convolution with the factors and offsets of its channels.

        The weights are ±64: units of the sums are then small enough for an offset a half unit off a
        multiple, and the sums of ±1 themselves stay exact multiples.
        """
        last, factor, offset = following_affine(self, node)
        last, activation = following_relu(self, last)
        self.reasons[node.name] = _QUANTIZED_SUMS
        form = self._form(node, op)
        plain = form.multiplier == 1
        scale = Scale(*(INTEGER if plain else BINARY))
        source, shape, padding = form.tensor, static_shape(node.input), op.padding
        if needs_border(node, op):
            stored = _plain if plain else _halved
            source, shape = with_border(self, node, op, source, stored, scale)
            padding = "valid"
        linear = Linear(
            form.multiplier * op.kernel.astype(np.float64),
            form.constant.astype(np.float64),
            shape,
            static_shape(node),
            strides=op.strides,
            dilation_rate=op.dilation_rate,
            padding=padding,
        ).scaled(factor, offset)
        stored_input = Int8(source, scale)
        self.set_int8(last, emit_linear(self, node, linear, stored_input, last, activation, largest=64))
        return last

    def compare(self, node: Node, op: Sign | Threshold) -> int:
        """Emits ``clamp(2^127 * direction * (x - direction * threshold), -1, 1)``, then its int8 value.

        The difference of two floats has the sign it should have; times 2^127 and clamped it is -1, a
        zero of either sign, or +1, and int8 ends between the last two: both are +1.
        """
        shape = static_shape(node)
        tensor = self.real(node.input)
        factor = np.array(_HUGE)
        if isinstance(op, Threshold):
            offset = exact_offset(node, op) * op.direction
            tensor = self.arithmetic(node.name, "SUB", tensor, offset, shape, suffix="difference")
            if (op.direction < 0).any():
                factor = _HUGE * op.direction.astype(np.float32)
        clamped = self.arithmetic(
            node.name, "MUL", tensor, factor, shape, suffix="clamped", activation="relu_n1_to_1"
        )
        return self._quantize_binary(node, clamped)

    def _quantize_binary(self, node: Node, tensor: int, suffix: str = "", version: int = 1) -> int:
        return self.emit(
            node.name,
            "QUANTIZE",
            [tensor],
            static_shape(node),
            dtype="int8",
            suffix=suffix,
            options=("Quantize", {}),
            version=version,
            quantization=BINARY,
        )

    def can_threshold(self, op: BinaryConv2D) -> bool:
        return True

    def can_drop_positions(self, node: Node, op: BinaryConv2D) -> bool:
        return True

    def transposed_obstacle(self, node: Node, op: BinaryConv2DTranspose) -> Obstacle | None:
        # What else TRANSPOSE_CONV does not have, float32 does not have either: an error in any case.
        return None

    def kernel_obstacle(self, node: Node, op: BinaryConv2D) -> Obstacle | None:
        if has_binary_border(op) or has_border_of(op, 0.0):
            return None
        values = sorted(set(op.pad_values.tolist()))
        return Obstacle(
            f"its border is {values}",
            "train it with pad_value=1.0",
            "Expected a border of +1, 0 or -1. Received: "
            f"{node.name!r} padded with {values}. Train it with pad_value=1.0.",
        )

    def binary_convolution(self, node: Node, op: BinaryConv2D, reader: Node | None) -> int:
        wanted = _SUMS if _is_dynamic(op) else _FLOAT_SUMS
        self.reasons[node.name] = wanted if reader is None else NO_REASON
        form = self._form(node, op)
        source, padded = form.tensor, static_shape(node.input)
        if needs_border(node, op):
            plain = form.multiplier == 1
            stored, quantization = (_plain, INTEGER) if plain else (_halved, BINARY)
            source, padded = with_border(self, node, op, source, stored, quantization)
        if reader is None:
            return self._sums(node, op, replace(form, tensor=source), padded)
        kernel, axis = _stored_kernel(op.kernel, op.groups)
        operator, options = _convolution_options(node, op, fused=True)
        shape = static_shape(node)
        tau = np.ceil((integer_thresholds(node, reader) - form.constant) / form.multiplier)
        ones = [1.0] * op.kernel.shape[-1]
        inputs = [
            source,
            self.constant(node.name, "kernel", kernel, ones, axis=axis),
            self.constant(node.name, "bias", (-tau).astype(np.int32), ones),
        ]
        return self.emit(
            node.name,
            operator,
            inputs,
            shape,
            name=reader.name,
            dtype="int8",
            options=options,
            version=6 if op.groups > 1 else 3,
            quantization=BINARY,
            binary=True,
        )

    def _sums(self, node: Node, op: BinaryConv2D, form: _Form, padded: tuple[int, ...]) -> int:
        """Emits a convolution that gives the sums themselves in float32."""
        kernel, _ = _stored_kernel(op.kernel, op.groups)
        operator, options = _convolution_options(node, op, fused=False)
        shape = static_shape(node)
        source = self._dequantized(node.name, form.tensor, padded)
        weights = self.constant(node.name, "kernel", kernel, float(form.multiplier))
        bias = self.constant(node.name, "bias", form.constant.astype(np.float32))
        if _is_dynamic(op):
            near = self.emit(
                node.name,
                operator,
                [source, weights, bias],
                shape,
                suffix="near",
                options=options,
                version=_DYNAMIC,
                binary=True,
            )
            return self.emit(node.name, "ROUND", [near], shape)
        weights = self.emit(
            node.name,
            "DEQUANTIZE",
            [weights],
            kernel.shape,
            suffix="float_kernel",
            options=("Dequantize", {}),
            version=2,
        )
        version = 6 if op.groups > 1 else 1
        return self.emit(
            node.name, operator, [source, weights, bias], shape, options=options, version=version
        )

    def _form(self, node: Node, op: BinaryConv2D) -> _Form:
        """The input of a convolution, in the form whose native padding is the layer's."""
        total = op.kernel.sum(axis=(0, 1, 2), dtype=np.int64)
        if has_border_of(op, 0.0):
            return _Form(self._plain(node.input), 1, 0 * total)
        return _Form(self.binary(node.input), 2, total)

    def _plain(self, source: Node) -> int:
        """Emits ``2 v + 1``, the ±1 value itself with zero point 0, once for each source."""
        key = (id(source), "plain")
        if key not in self._others:
            shape = static_shape(source)
            channels = shape[-1]
            kernel = np.full((1, 1, 1, channels), 2, np.int8)
            bias = np.full(channels, 1, np.int32)
            ones = [1.0] * channels
            fields = {"padding": PADDING["valid"], "strideH": 1, "strideW": 1, "depthMultiplier": 1}
            self._others[key] = self.emit(
                source.name,
                "DEPTHWISE_CONV_2D",
                [
                    self.binary(source),
                    self.constant(source.name, "plain_factor", kernel, ones, axis=3),
                    self.constant(source.name, "plain_offset", bias, ones),
                ],
                shape,
                dtype="int8",
                suffix="plain",
                options=("DepthwiseConv2D", {**fields, "dilationHFactor": 1, "dilationWFactor": 1}),
                version=3,
                quantization=INTEGER,
            )
        return self._others[key]

    def _dequantized(self, layer: str, tensor: int, shape: tuple[int, ...]) -> int:
        key = (tensor, "float")
        if key not in self._others:
            self._others[key] = self.emit(
                layer,
                "DEQUANTIZE",
                [tensor],
                shape,
                suffix="float_input",
                options=("Dequantize", {}),
                version=2,
            )
        return self._others[key]

    def binary_of_int8(self, node: Node, tensor: int) -> int:
        return tensor

    def max_pool(self, node: Node, layer: Any) -> int:
        self.reasons[node.name] = NO_REASON
        fields = {
            "padding": PADDING[layer.padding],
            "strideH": layer.strides[0],
            "strideW": layer.strides[1],
            "filterHeight": layer.pool_size[0],
            "filterWidth": layer.pool_size[1],
        }
        return self.emit(
            node.name,
            "MAX_POOL_2D",
            [self.binary(node.input)],
            static_shape(node),
            dtype="int8",
            options=("Pool2D", fields),
            version=2,
            quantization=BINARY,
            binary=True,
        )

    def can_move(self, node: Node) -> bool:
        return True

    def reshape(self, node: Node) -> int:
        shape = static_shape(node)
        return reshape(self, node, self.binary(node.input), shape, "int8", BINARY)

    def concatenate(self, node: Node, axis: int) -> int:
        return self.emit(
            node.name,
            "CONCATENATION",
            [self.binary(source) for source in node.inputs],
            static_shape(node),
            dtype="int8",
            options=("Concatenation", {"axis": axis}),
            version=2,
            quantization=BINARY,
        )


def _is_dynamic(op: BinaryConv2D) -> bool:
    """Whether the sums of a convolution come exactly from a dynamic range."""
    products = int(np.prod(op.kernel.shape[:3]))
    return op.groups == 1 and not has_border_of(op, 0.0) and products <= _MOST_PRODUCTS


def _plain(values: np.ndarray) -> np.ndarray:
    return values.astype(np.int8)


def _halved(values: np.ndarray) -> np.ndarray:
    """How ±1 is stored: (x - 1) / 2 with zero point 127."""
    return ((values - 1) / 2 + BINARY[1]).astype(np.int8)


def _stored_kernel(kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """The kernel in the order of its operator, and the axis of its output channels.

    A group of one channel is what DEPTHWISE_CONV_2D is for.
    """
    if groups > 1 and kernel.shape[2] == 1:
        return np.ascontiguousarray(kernel.transpose(2, 0, 1, 3)), 3
    return np.ascontiguousarray(kernel.transpose(3, 0, 1, 2)), 0


def _convolution_options(node: Node, op: BinaryConv2D, fused: bool) -> tuple[str, Options]:
    fields = {
        "padding": PADDING["valid" if needs_border(node, op) else op.padding],
        "strideH": op.strides[0],
        "strideW": op.strides[1],
        "dilationHFactor": op.dilation_rate[0],
        "dilationWFactor": op.dilation_rate[1],
        "fusedActivationFunction": ACTIVATION["relu_n1_to_1" if fused else "none"],
    }
    if op.groups > 1 and op.kernel.shape[2] == 1:
        multiplier = op.kernel.shape[3] // op.groups
        return "DEPTHWISE_CONV_2D", ("DepthwiseConv2D", {**fields, "depthMultiplier": multiplier})
    return "CONV_2D", ("Conv2D", fields)
