"""Lowering to the Larq Compute Engine: bits between binary layers, integer thresholds, no rounding.

The operators and their options are those of LCE 0.16 (mlir/ir/lce_ops.cc). A binary convolution counts
the products of -1, ``p = popcount(xor)``, of the K products it sums, so the accumulator is
``a = K - 2 p``. With bitpacked output it writes bit 1, which stands for -1, where ``p > tau``. For the
threshold t of the fold, an integer:

    a < t   <=>   K - 2 p < t   <=>   p > (K - t) / 2   <=>   p > floor((K - t) / 2) = tau

"same" padding with +1 is what the engine itself does when `pad_values` is 1.

Where the border is 0 the engine has no bitpacked output. It computes ``2 p (-m) + (b + K m)`` in float32
and adds ``-m`` times the weights that stood on the border. With the multiplier m = 1 all of that is
exact: the sum itself for b = 0, and ``a - (t - 1/2)``, which is never 0, for b = 1/2 - t. The engine's
own converter has the scale of batch normalization for m, and rounds there.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from keras_sbn import bits
from keras_sbn.conversion.comparisons import exact_offset
from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.fused import FusedThreshold
from keras_sbn.conversion.geometry import has_binary_padding, pads_with, products, static_shape
from keras_sbn.conversion.layers.groups import Part, by_group
from keras_sbn.conversion.layers.padding import padded_binary
from keras_sbn.conversion.negative_zero import never_negative_zero
from keras_sbn.conversion.plan import NO_REASON, Reason, Unsupported
from keras_sbn.conversion.quantization import INTEGER
from keras_sbn.conversion.reasons import SUMS, unsupported_padding
from keras_sbn.conversion.registry import Call
from keras_sbn.conversion.targets.base import Target
from keras_sbn.conversion.targets.lce_padding import sum_over_padding, zeros_count_as_ones
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2D, Sign, Threshold

#: From so many filters on, two operators are less than what bytes save over floats.
_LONG = 128
#: From so many products on the engine's default kernel sums wrongly, for some numbers of words.
_MOST_PRODUCTS = 65_024
#: Of a convolution that the engine writes as numbers though a sign alone reads it.
_ZEROS = Reason("its border is 0, which is no binary value", "train it with pad_value=1.0, the default")


class LceTarget(Target):
    """Writes a folded model for the Larq Compute Engine: 32 channels of bits in an int32 word."""

    has_float_accumulators = True
    # The engine takes a ReLU of the integer sums.
    float_relus = ("relu",)
    comparison_suffix = "int8"
    bits_quant = None
    packed = bits.WORD
    #: Whether a sign is the sign bit, which -0.0 has; elsewhere a value is compared with 0.
    reads_sign_bit: ClassVar[bool] = True
    #: What computes, for messages.
    engine: ClassVar[str] = "the Larq Compute Engine"

    def to_bits(self, node: Node, x: Tensor, suffix: str = "") -> Tensor:
        # LceQuantize compares int8 with the zero point, and float32 with 0.
        output = Output(node.name, self.bits_shape(static_shape(node)), dtype="int32", suffix=suffix)
        return self.emitter.unary("LceQuantize", x, output)

    def bits_to_float(self, node: Node, x: Tensor) -> Tensor:
        output = Output(node.name, static_shape(node), suffix="unpacked")
        return self.emitter.unary("LceDequantize", x, output)

    def bits_to_int8(self, node: Node, x: Tensor) -> Tensor:
        output = Output(node.name, static_shape(node), INTEGER, suffix="unpacked_int8")
        return self.emitter.unary("LceDequantize", x, output)

    def compare_int8(self, call: Call, x: Tensor) -> Tensor:
        sign = isinstance(call.node.op, Sign)
        return self.to_bits(call.node, x) if sign else super().compare_int8(call, x)

    def compare(self, call: Call, x: Tensor) -> Tensor:
        node, op = call.node, call.node.op
        if isinstance(op, Sign):
            if not self.reads_sign_bit or never_negative_zero(node.input):
                return self.to_bits(node, x)
            # -0.0 + 0.0 is +0.0, and +0.0 packs as +1 on every processor.
            output = call.output.also(suffix="sum")
            return self.to_bits(node, call.emitter.elementwise("ADD", x, 0.0, output))
        assert isinstance(op, Threshold)
        offset = exact_offset(node, op)
        if (op.direction < 0).any():
            output = call.output.also(suffix="directed")
            x = call.emitter.elementwise("MUL", x, op.direction, output)
        output = call.output.also(suffix="difference")
        return self.to_bits(node, call.emitter.elementwise("SUB", x, offset, output))

    def finishes(self, op: BinaryConv2D) -> bool:
        # Padding with 0 the engine corrects in float32, as it is around the whole map.
        return not pads_with(op, 0.0)

    def unsupported_convolution(self, name: str, op: BinaryConv2D) -> Unsupported | None:
        depth = op.kernel.shape[2]
        if op.groups > 1 and depth % bits.WORD:
            return Unsupported(
                f"{depth} channels a group, and {self.engine} packs {bits.WORD}",
                f"choose groups of a multiple of {bits.WORD} channels, or target='tflite'",
                f"Expected input channels a group in multiples of {bits.WORD}, as {self.engine} packs "
                f"them. Received: {name!r} with groups={op.groups}, {depth} channels a group. Choose "
                "fewer groups, or target='tflite'.",
            )
        if pads_with(op, 0.0) and self.overflows(op):
            return _too_many_products(name, op)
        native = op.padding == "same" and pads_with(op, 0.0)
        if not native and not has_binary_padding(op):
            wanted, known = f"+1, -1 or 0, as {self.engine} has it", f", and {self.engine} knows ±1 and 0"
            return unsupported_padding(name, op, wanted, known)
        return None

    def unsupported_accumulators(self, name: str, op: BinaryConv2D) -> Unsupported | None:
        return _too_many_products(name, op) if self.overflows(op) else None

    def overflows(self, op: BinaryConv2D) -> bool:
        """Whether the engine's default kernel sums wrongly what it writes as numbers.

        Measured: from 65,024 products on, where the number of words rounded up to 4 is 4 more than a
        multiple of 8.
        """
        words = int(np.prod(op.kernel.shape[:2])) * bits.words(op.kernel.shape[2])
        return products(op) >= _MOST_PRODUCTS and -(-words // 4) * 4 % 8 == 4

    def convolution(self, call: Call) -> Tensor:
        """Emits LceBconv2d: bits with a threshold, the plain accumulator in float32 without."""
        fused, op = call.node.op, call.op
        if not isinstance(fused, FusedThreshold):
            return self._accumulators(call, call.affine[1], call.output, call.activation)
        if not _writes_bits(op):
            difference = call.output.also(suffix="difference")
            y = self._accumulators(call, 0.5 - fused.threshold, difference)
            return self.to_bits(call.node, y)
        self.emitter.reasons[call.layer] = NO_REASON
        tau = np.floor((products(op) - fused.threshold) / 2).astype(np.int32)
        output = call.output.also(shape=self.bits_shape(call.output.shape), dtype="int32")

        def write(part: Part) -> Tensor:
            threshold = call.emitter.constant("threshold", tau[part.filters])
            return self._convolve(call, part, [None, None, threshold])

        return by_group(call, self.values.bits(call.node.input), output, write)

    def rounded_convolution(self, call: Call) -> Tensor:
        """Emits LceBconv2d with the factors and offsets of its channels, written as int8."""
        output = call.output
        if self.finishes(call.op):
            # Below the least value of a ReLU int8 ends.
            output = output.also(quant=self.scales.of(call.node))
        return self._accumulators(call, call.affine[1], output)

    def _accumulators(
        self, call: Call, offset: np.ndarray, output: Output, activation: str = "none"
    ) -> Tensor:
        """Emits the accumulators times a factor a channel, plus an offset, in float32 or int8."""
        self.emitter.reasons[call.layer] = _ZEROS if pads_with(call.op, 0.0) else SUMS
        factors, offsets = np.broadcast_arrays(call.affine[0], offset)

        def write(part: Part) -> Tensor:
            own = factors[part.filters], offsets[part.filters]
            if zeros_count_as_ones(call):
                return self._accumulators_padded_with_ones(call, part, *own)
            return self._scaled(call, part, *own, activation)

        return by_group(call, self.values.bits(call.node.input), output, write)

    def _accumulators_padded_with_ones(
        self, call: Call, part: Part, factor: np.ndarray, offset: np.ndarray
    ) -> Tensor:
        """Emits a convolution padded with 0 as one padded with +1, less what the padding adds."""
        output = part.output
        ones = dataclasses.replace(part.op, pad_values=np.ones(1))
        own = output.also(name=f"{output.full_name}/padded_with_ones", suffix="")
        padded = dataclasses.replace(part, op=ones, output=own)
        sums = self._scaled(call, padded, factor, np.zeros(len(factor)))
        difference = (offset - factor * sum_over_padding(call, part.op)).astype(np.float32)
        constant = call.emitter.constant("difference", difference)
        return call.emitter.elementwise("ADD", sums, constant, output)

    def _scaled(
        self, call: Call, part: Part, factor: np.ndarray, offset: np.ndarray, activation: str = "none"
    ) -> Tensor:
        """Emits one group's accumulators times a factor a channel, plus an offset."""
        transform = [
            self._channels(call, factor, "multiplier"),
            self._channels(call, offset, "bias"),
            None,
        ]
        return self._convolve(call, part, transform, activation)

    def _channels(self, call: Call, values: np.ndarray, suffix: str) -> Tensor:
        """Adds a number a filter. The engine has no convolution without, and many are all 1 or all 0.

        A long vector of these is stored in bytes, 1 less a zero point of 0 or 1, and dequantized when the
        model is loaded.
        """
        vector, filters = values.astype(np.float32), len(values)
        value = vector[0]
        if filters < _LONG or value not in (0, 1) or (vector != value).any():
            return call.emitter.constant(suffix, vector)
        name = f"{'ones' if value else 'zeros'}_{filters}"
        if name not in self.shared:
            ones = np.ones(filters, np.int8)
            stored = call.emitter.constant("ones", ones, 1.0, int(1 - value))
            self.shared[name] = call.emitter.unary("DEQUANTIZE", stored, Output(name, (filters,)))
        return self.shared[name]

    def _convolve(
        self,
        call: Call,
        part: Part,
        transform: list[Tensor | None],
        activation: str = "none",
    ) -> Tensor:
        op = part.op
        x, window = padded_binary(call, op, part.x, bits.pack)
        kernel = call.emitter.constant("kernel", bits.pack(op.kernel.transpose(3, 0, 1, 2)))
        ones = pads_with(op, 1.0) and window.padding == "same"
        return call.emitter.lce_convolution(
            [x, kernel, *transform],
            part.output.also(binary=True),
            window,
            channels_in=op.kernel.shape[2],
            pad_values=int(ones),
            activation=activation,
        )


def _too_many_products(name: str, op: BinaryConv2D) -> Unsupported:
    remedy = "choose target='tflite', or a pool before it that leaves fewer inputs"
    return Unsupported(
        f"it sums {products(op):,} products, and the default kernel of the Larq Compute Engine fewer "
        f"than {_MOST_PRODUCTS:,} where the sums are wanted as numbers",
        remedy,
        f"Expected fewer than {_MOST_PRODUCTS:,} products an output, which the default kernel of the "
        f"Larq Compute Engine sums exactly. Received: {name!r} with {products(op):,}. The way out: "
        f"{remedy}.",
    )


def _writes_bits(op: BinaryConv2D) -> bool:
    """Whether the engine compares the accumulators itself and writes bits.

    It does not where it pads with 0, and the bits of groups are joined where they are whole words.
    """
    whole = op.groups == 1 or (op.kernel.shape[3] // op.groups) % bits.WORD == 0
    return whole and not pads_with(op, 0.0)
