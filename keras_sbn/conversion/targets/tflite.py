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

from typing import ClassVar

import numpy as np

from keras_sbn.conversion.comparisons import exact_offset
from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.fused import FusedThreshold
from keras_sbn.conversion.geometry import has_binary_padding, pads_with, products, static_shape
from keras_sbn.conversion.layers.few_bits import few_bits_convolution, is_dense
from keras_sbn.conversion.layers.linear import Linear, in_order, rounded
from keras_sbn.conversion.layers.padding import padded_binary
from keras_sbn.conversion.layers.thresholds import compared_sums
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import NO_REASON, Reason, Unsupported
from keras_sbn.conversion.quantization import BINARY, INTEGER
from keras_sbn.conversion.reasons import SUMS, unsupported_padding
from keras_sbn.conversion.registry import Call
from keras_sbn.conversion.targets.base import Target
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2D, BinaryConv2DTranspose, Threshold

#: Multiplied by it, every normal float32 number but 0 is at least 2 in magnitude.
_HUGE = np.float32(2.0**127)

#: Sums of so many products are still told apart after the roundings of a dynamic range.
_MOST_PRODUCTS = 2**18

_GROUPS = Reason("FULLY_CONNECTED, which takes fewer than 8 bits a weight, has no groups", "")

_FLOAT_SUMS = Reason(
    f"{SUMS.reason}; with groups, padding with 0 or more than 2^18 products, ±1 are added up in float32, "
    "exactly",
    "train it without groups and with pad_value=1.0, or convert it to target='lce'",
)

_ROUNDED_SUMS = Reason(
    f"{SUMS.reason}: ±1 are added up exactly, then rounded",
    "target='lce' keeps it binary",
)


class TfliteTarget(Target):
    """Writes a folded model in stock TFLite operators: bits are int8 of scale 1, zero point 127."""

    has_float_accumulators = False
    comparison_suffix = ""
    bits_quant = BINARY
    weight_bits: ClassVar[tuple[int | str, ...]] = (8, 4, 2, "auto")
    #: Whether weights of fewer than 8 bits are those of a FULLY_CONNECTED, and not of the convolution.
    few_bits_as_dense: ClassVar[bool] = True

    def to_bits(self, node: Node, x: Tensor, suffix: str = "") -> Tensor:
        if x.quant == BINARY:
            return x
        # +1 would be 128 and is 127 as int8 ends there, -1 is 126.
        output = Output(node.name, static_shape(node), BINARY, suffix=suffix)
        return self.emitter.quantize(x, output)

    def bits_to_float(self, node: Node, x: Tensor) -> Tensor:
        output = Output(node.name, static_shape(node))
        v = self._dequantized(node.name, x)
        twice = self.emitter.elementwise("MUL", v, 2.0, output.also(suffix="twice"))
        return self.emitter.elementwise("ADD", twice, 1.0, output.also(suffix="unpacked"))

    def bits_to_int8(self, node: Node, x: Tensor) -> Tensor:
        """Emits ``2 v + 1``, the ±1 value itself with zero point 0."""
        channels, output = x.shape[-1], Output(node.name, static_shape(node), INTEGER, suffix="plain")
        as_map = (1, 1, int(np.prod(x.shape[:-1])), channels)
        if len(x.shape) != 4:
            flat = output.also(shape=as_map, quant=BINARY, suffix="map")
            x = self.emitter.reshape(x, flat)
        ones = [1.0] * channels
        kernel = np.full((1, 1, 1, channels), 2, np.int8)
        bias = np.full(channels, 1, np.int32)
        plain = self.emitter.convolution(
            x,
            self.emitter.constant("plain_factor", kernel, ones, axis=3),
            self.emitter.constant("plain_offset", bias, ones),
            output if x.shape == output.shape else output.also(shape=as_map, suffix="plain_map"),
            Window(),
            depthwise=True,
        )
        return plain if plain.shape == output.shape else self.emitter.reshape(plain, output)

    def compare(self, call: Call, x: Tensor) -> Tensor:
        """Emits ``clamp(2^127 * direction * (x - direction * threshold), -1, 1)``, then its int8 value.

        The difference of two floats has the sign it should have; times 2^127 and clamped it is -1, a
        zero of either sign, or +1, and int8 ends between the last two: both are +1.
        """
        op, factor = call.node.op, np.array(_HUGE)
        if isinstance(op, Threshold):
            offset = exact_offset(call.node, op) * op.direction
            output = call.output.also(suffix="difference")
            x = call.emitter.elementwise("SUB", x, offset, output)
            if (op.direction < 0).any():
                factor = _HUGE * op.direction.astype(np.float32)
        output = call.output.also(suffix="clamped")
        clamped = call.emitter.elementwise("MUL", x, factor, output, "relu_n1_to_1")
        return self.to_bits(call.node, clamped)

    def unsupported_transposed(self, name: str, op: BinaryConv2DTranspose) -> Unsupported | None:
        # What else TRANSPOSE_CONV does not have, float32 does not have either: an error in any case.
        return None

    def unsupported_convolution(self, name: str, op: BinaryConv2D) -> Unsupported | None:
        if has_binary_padding(op) or pads_with(op, 0.0):
            return None
        return unsupported_padding(name, op, "+1, 0 or -1")

    def rounded_convolution(self, call: Call) -> Tensor:
        """Emits an int8 convolution with the factors and offsets of its channels.

        The weights are ±64: units of the accumulators are then small enough for an offset a half unit off
        a multiple, and the sums of ±1 themselves stay exact multiples.
        """
        self.emitter.reasons[call.layer] = _ROUNDED_SUMS
        linear, x = self._linear(call)
        call.output = call.output.also(quant=self.scales.of(call.node))
        return rounded(call, linear, x, largest=64)

    def _linear(self, call: Call) -> tuple[Linear, Tensor]:
        """What a convolution and what is fused with it compute, and the bits that they read."""
        x, window, multiplier, constant = self._padded(call)
        kernel = multiplier * call.op.kernel.astype(np.float64)
        linear = Linear(kernel, constant.astype(np.float64), x.shape, call.output.shape, window=window)
        return linear.scaled(*call.affine), x

    def convolution(self, call: Call) -> Tensor:
        fused, op = call.node.op, call.op
        if not isinstance(fused, FusedThreshold):
            return self._accumulators(call)
        self.emitter.reasons[call.layer] = NO_REASON
        bits = self.bits_of(call)
        as_dense = bits < 8 and self.few_bits_as_dense
        x, window, multiplier, constant = self._padded(call, in_windows=as_dense)
        tau = np.ceil((fused.threshold - constant) / multiplier)
        if as_dense:
            return few_bits_convolution(call, x, tau, bits)
        output, depthwise = call.output.also(binary=True), _is_depthwise(op)
        packed = bits if bits < 8 else None
        return compared_sums(call, x, op.kernel, tau, output, window, depthwise, packed)

    def _accumulators(self, call: Call) -> Tensor:
        """Emits a convolution that gives the accumulators themselves in float32."""
        dynamic, depthwise = _is_dynamic(call.op), _is_depthwise(call.op)
        self.emitter.reasons[call.layer] = SUMS if dynamic else _FLOAT_SUMS
        stored, window, multiplier, constant = self._padded(call)
        kernel = in_order(call.op.kernel, depthwise)
        x = self._dequantized(call.layer, stored)
        weights = call.emitter.constant("kernel", kernel, float(multiplier))
        bias = call.emitter.constant("bias", constant.astype(np.float32))
        if dynamic:
            output = call.output.also(suffix="near", binary=True)
            near = call.emitter.convolution(x, weights, bias, output, window)
            return call.emitter.unary("ROUND", near, call.output)
        output = Output(call.layer, kernel.shape, suffix="float_kernel")
        weights = call.emitter.unary("DEQUANTIZE", weights, output)
        return call.emitter.convolution(x, weights, bias, call.output, window, depthwise=depthwise)

    def bits_of(self, call: Call) -> int:
        """Bits a weight of a convolution that compares its sums."""
        wanted, op = self.settings.weight_bits, call.op
        if wanted == "auto":
            # Two bits cost a dense layer no time, and other convolutions twice theirs.
            sizes = static_shape(call.node.input)[1:3]
            return 2 if is_dense(op, sizes, call.output.shape[1:3]) else 8
        if op.groups > 1 and wanted != 8:
            self.emitter.reasons[call.layer] = _GROUPS
            return 8
        return int(wanted)

    def _padded(self, call: Call, in_windows: bool = False) -> tuple[Tensor, Window, int, np.ndarray]:
        """What a convolution reads, u, with the padding that is not native, and how the window moves.

        Args:
            call: The convolution.
            in_windows: Whether no padding is native.

        Returns:
            u, the window, and m and c of ``conv(x, w) = m conv(u, w) + c``.
        """
        op, source = call.op, call.node.input
        multiplier = 1 if pads_with(op, 0.0) else 2
        constant = (multiplier - 1) * op.kernel.sum(axis=(0, 1, 2), dtype=np.int64)
        x = self.values.int8(source) if multiplier == 1 else self.values.bits(source)
        x, window = padded_binary(call, op, x, x.params.stored, native=not in_windows)
        return x, window, multiplier, constant

    def _dequantized(self, layer: str, x: Tensor) -> Tensor:
        if x not in self.shared:
            output = Output(layer, x.shape, suffix="float_input")
            self.shared[x] = self.emitter.unary("DEQUANTIZE", x, output)
        return self.shared[x]


def _is_dynamic(op: BinaryConv2D) -> bool:
    """Whether the accumulators of a convolution come exactly from a dynamic range."""
    return op.groups == 1 and not pads_with(op, 0.0) and products(op) <= _MOST_PRODUCTS


def _is_depthwise(op: BinaryConv2D) -> bool:
    """Whether a group is one channel, which is what DEPTHWISE_CONV_2D is for."""
    return op.groups > 1 and op.kernel.shape[2] == 1
