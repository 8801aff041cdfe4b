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

The engine takes it that the window is smaller than the map: where it covers the map and sticks out on
both sides, nothing is corrected (`_sticks_out`, measured). There the border is +1, and a constant for
every position makes up for it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_sbn import bits
from keras_sbn.conversion.binary_lowering import (
    BinaryLowering,
    Obstacle,
    exact_offset,
    integer_thresholds,
    no_kernel,
)
from keras_sbn.conversion.borders import (
    has_binary_border,
    has_border_of,
    needs_border,
    with_border,
)
from keras_sbn.conversion.float_layers import reshape, same_padding
from keras_sbn.conversion.int8_layers import Int8, following_affine, following_relu
from keras_sbn.conversion.lowering import NO_REASON, Reason, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.conversion.quantization import INTEGER, Scale
from keras_sbn.conversion.signs_of_zero import never_negative_zero
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2D, BinaryConv2DTranspose, Sign, Threshold

#: From so many filters on, two operators are less than what bytes save over floats.
_LONG = 128


class LceLowering(BinaryLowering):
    """Emits a folded model for the Larq Compute Engine: binary values are bits in int32 tensors."""

    has_float_sums = True
    decision_suffix = "int8"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._vectors: dict[str, int] = {}

    def pack(self, node: Node, tensor: int) -> int:
        return self._quantize_bits(node, tensor, suffix="packed")

    def unpack(self, node: Node, tensor: int) -> int:
        return self.emit(node.name, "LceDequantize", [tensor], static_shape(node), suffix="unpacked")

    def pack_int8(self, node: Node, tensor: int) -> int:
        return self._quantize_bits(node, tensor, suffix="packed")

    def unpack_int8(self, node: Node, tensor: int) -> int:
        return self.emit(
            node.name,
            "LceDequantize",
            [tensor],
            static_shape(node),
            dtype="int8",
            suffix="unpacked_int8",
            quantization=INTEGER,
        )

    def compare_int8(self, node: Node, op: Sign | Threshold) -> int | None:
        # LceQuantize compares int8 with the zero point.
        return self._quantize_bits(node, self.int8(node.input).tensor) if isinstance(op, Sign) else None

    def compare(self, node: Node, op: Sign | Threshold) -> int:
        shape = static_shape(node)
        tensor = self.real(node.input)
        if isinstance(op, Sign):
            if never_negative_zero(node.input):
                return self._quantize_bits(node, tensor)
            # -0.0 + 0.0 is +0.0, and +0.0 packs as +1 on every processor.
            zero = np.zeros((), np.float32)
            return self._quantize_bits(
                node, self.arithmetic(node.name, "ADD", tensor, zero, shape, suffix="sum")
            )
        offset = exact_offset(node, op)
        if (op.direction < 0).any():
            tensor = self.arithmetic(node.name, "MUL", tensor, op.direction, shape, suffix="directed")
        tensor = self.arithmetic(node.name, "SUB", tensor, offset, shape, suffix="difference")
        return self._quantize_bits(node, tensor)

    def _quantize_bits(self, node: Node, tensor: int, suffix: str = "") -> int:
        shape = _packed_shape(static_shape(node))
        return self.emit(node.name, "LceQuantize", [tensor], shape, dtype="int32", suffix=suffix)

    def can_threshold(self, op: BinaryConv2D) -> bool:
        return True

    def can_drop_positions(self, node: Node, op: BinaryConv2D) -> bool:
        # A border of 0 the engine corrects after the convolution, as it is around the whole map.
        return not has_border_of(op, 0.0)

    def transposed_obstacle(self, node: Node, op: BinaryConv2DTranspose) -> Obstacle | None:
        return no_kernel(node)

    def kernel_obstacle(self, node: Node, op: BinaryConv2D) -> Obstacle | None:
        depth = op.kernel.shape[2]
        if op.groups > 1 and depth % bits.WORD:
            return Obstacle(
                f"{depth} channels a group, and the Larq Compute Engine packs {bits.WORD}",
                f"choose groups of a multiple of {bits.WORD} channels, or target='tflite'",
                f"Expected input channels a group in multiples of {bits.WORD}, as the Larq Compute "
                f"Engine packs them. Received: {node.name!r} with groups={op.groups}, {depth} channels a "
                "group. "
                "Choose fewer groups, or target='tflite'.",
            )
        native = op.padding == "same" and has_border_of(op, 0.0)
        if not native and not has_binary_border(op):
            values = sorted(set(op.pad_values.tolist()))
            return Obstacle(
                f"its border is {values}, and the Larq Compute Engine knows ±1 and 0",
                "train it with pad_value=1.0",
                "Expected a border of +1, -1 or 0, as the Larq Compute Engine has it. Received: "
                f"{node.name!r} padded with {values}. Train it with pad_value=1.0.",
            )
        return None

    def binary_convolution(self, node: Node, op: BinaryConv2D, reader: Node | None) -> int:
        """Emits LceBconv2d: bitpacked with a threshold, the plain accumulator in float32 without."""
        if reader is None:
            last = self.last_of_sums(node, op)
            return self._sums(node, op, np.ones(1), np.zeros(1), last.name, None, relu=last is not node)
        if has_border_of(op, 0.0):
            bias = 0.5 - integer_thresholds(node, reader)
            difference = self._sums(node, op, np.ones(1), bias, f"{reader.name}/difference", None)
            return self._quantize_bits(reader, difference)
        products = int(np.prod(op.kernel.shape[:3]))
        self.reasons[node.name] = NO_REASON
        tau = np.floor((products - integer_thresholds(node, reader)) / 2)
        transform = [-1, -1, self.constant(node.name, "threshold", tau.astype(np.int32))]
        shape = _packed_shape(static_shape(node))
        return self._convolve(node, op, transform, shape, reader.name, "int32", None, "none")

    def last_of_sums(self, node: Node, op: BinaryConv2D) -> Node:
        """The engine takes a ReLU of the integer sums, unless it has the border to correct after it."""
        last, name = following_relu(self, node)
        return last if name == "relu" and not has_border_of(op, 0.0) else node

    def quantized_sums(self, node: Node, op: BinaryConv2D) -> Node:
        """Emits LceBconv2d with the factors and offsets of its channels, written as int8.

        Where the border is 0 the engine writes float32 alone, which is converted where int8 is read.
        """
        last, factor, offset = following_affine(self, node)
        if has_border_of(op, 0.0):
            self.set_real(last, self._sums(node, op, factor, offset, last.name, None))
            return last
        # Below the least value of a ReLU int8 ends.
        last, _ = following_relu(self, last)
        scale = self.scale(last)
        self.set_int8(last, Int8(self._sums(node, op, factor, offset, last.name, scale), scale))
        return last

    def _sums(
        self,
        node: Node,
        op: BinaryConv2D,
        factor: np.ndarray,
        offset: np.ndarray,
        name: str,
        scale: Scale | None,
        relu: bool = False,
    ) -> int:
        """Emits the accumulators times a factor a channel, plus an offset, in float32 or int8."""
        self.reasons[node.name] = _why_not_bits(op)
        if has_border_of(op, 0.0) and _sticks_out(node, op):
            return self._sums_over_small_map(node, op, factor, offset, name)
        transform = [self._channels(node, factor, "multiplier"), self._channels(node, offset, "bias"), -1]
        dtype, activation = "float32" if scale is None else "int8", "relu" if relu else "none"
        return self._convolve(node, op, transform, static_shape(node), name, dtype, scale, activation)

    def _sums_over_small_map(
        self, node: Node, op: BinaryConv2D, factor: np.ndarray, offset: np.ndarray, name: str
    ) -> int:
        """Emits a convolution of border 0 as one of border +1, less what the border adds."""
        shape = static_shape(node)
        padded = dataclasses.replace(op, pad_values=np.ones(1))
        transform = [
            self._channels(node, factor, "multiplier"),
            self._channels(node, np.zeros(1), "bias"),
            -1,
        ]
        own = f"{name}/padded_with_ones"
        sums = self._convolve(node, padded, transform, shape, own, "float32", None, "none")
        difference = (offset - factor * _sum_over_border(node, op)).astype(np.float32)
        inputs = [sums, self.constant(node.name, "difference", difference)]
        return self.emit(node.name, "ADD", inputs, shape, name=name, options=("Add", {}))

    def _channels(self, node: Node, values: np.ndarray, suffix: str) -> int:
        """Adds a number a filter. The engine has no convolution without, and many are all 1 or all 0.

        A long vector of these is stored in bytes, 1 less a zero point of 0 or 1, and dequantized when the
        model is loaded.
        """
        filters = static_shape(node)[-1]
        vector = np.broadcast_to(values, (filters,)).astype(np.float32)
        value = vector[0]
        if filters < _LONG or value not in (0, 1) or (vector != value).any():
            return self.constant(node.name, suffix, vector)
        name = f"{'ones' if value else 'zeros'}_{filters}"
        if name not in self._vectors:
            stored = self.constant(name, "ones", np.ones(filters, np.int8), 1.0, int(1 - value))
            self._vectors[name] = self.emit(
                name, "DEQUANTIZE", [stored], (filters,), options=("Dequantize", {}), version=2
            )
        return self._vectors[name]

    def _convolve(
        self,
        node: Node,
        op: BinaryConv2D,
        transform: list[int],
        shape: tuple[int, ...],
        name: str,
        dtype: str,
        scale: Scale | None,
        activation: str,
    ) -> int:
        depth = op.kernel.shape[2]
        packed_kernel = bits.pack(op.kernel.transpose(3, 0, 1, 2))
        source, padding = self.binary(node.input), op.padding
        if needs_border(node, op):
            padding = "valid"
            source, _ = with_border(self, node, op, source, bits.pack)
        return self.emit(
            node.name,
            "LceBconv2d",
            [source, self.constant(node.name, "kernel", packed_kernel), *transform],
            shape,
            name=name,
            dtype=dtype,
            quantization=scale,
            custom={
                "channels_in": depth * op.groups,
                "dilation_height_factor": op.dilation_rate[0],
                "dilation_width_factor": op.dilation_rate[1],
                "fused_activation_function": ACTIVATION[activation],
                "pad_values": int(has_border_of(op, 1.0) and padding == "same"),
                "padding": PADDING[padding],
                "stride_height": op.strides[0],
                "stride_width": op.strides[1],
            },
            binary=True,
        )

    def binary_of_int8(self, node: Node, tensor: int) -> int:
        # LceQuantize compares int8 with the zero point.
        return self._quantize_bits(node, tensor)

    def max_pool(self, node: Node, layer: Any) -> int:
        self.reasons[node.name] = NO_REASON
        return self.emit(
            node.name,
            "LceBMaxPool2d",
            [self.binary(node.input)],
            _packed_shape(static_shape(node)),
            dtype="int32",
            custom={
                "padding": PADDING[layer.padding],
                "stride_width": layer.strides[1],
                "stride_height": layer.strides[0],
                "filter_width": layer.pool_size[1],
                "filter_height": layer.pool_size[0],
            },
            binary=True,
        )

    def can_move(self, node: Node) -> bool:
        """Whether moving bits is moving words: the channels are whole words, or stay together."""
        channels = [static_shape(source)[-1] for source in (*node.inputs, node)]
        return len(set(channels)) == 1 or all(count % bits.WORD == 0 for count in channels)

    def reshape(self, node: Node) -> int:
        shape = _packed_shape(static_shape(node))
        return reshape(self, node, self.binary(node.input), shape, "int32")

    def concatenate(self, node: Node, axis: int) -> int:
        return self.emit(
            node.name,
            "CONCATENATION",
            [self.binary(source) for source in node.inputs],
            _packed_shape(static_shape(node)),
            dtype="int32",
            options=("Concatenation", {"axis": axis}),
        )


def _packed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], bits.words(shape[-1]))


def _overhang(node: Node, op: BinaryConv2D) -> list[list[tuple[int, int]]]:
    """For both axes and every position, by how much the window sticks out before and after the map."""
    found = []
    for axis in (0, 1):
        size, positions = static_shape(node.input)[axis + 1], static_shape(node)[axis + 1]
        stride, dilation = op.strides[axis], op.dilation_rate[axis]
        before, _ = same_padding(size, op.kernel.shape[axis], stride, dilation)
        covered = dilation * (op.kernel.shape[axis] - 1) + 1
        starts = [before - position * stride for position in range(positions)]
        found.append([(start, covered - start - size) for start in starts])
    return found


def _sticks_out(node: Node, op: BinaryConv2D) -> bool:
    """Whether the window covers the map on some axis, with padding on one side at least."""
    return any(
        min(start, end) >= 0 and max(start, end) > 0
        for axis in _overhang(node, op)
        for start, end in axis
    )


def _sum_over_border(node: Node, op: BinaryConv2D) -> np.ndarray:
    """The sum of the weights that stand on the border, at every position: `(height, width, filters)`."""
    by_tap = op.kernel.sum(axis=2, dtype=np.int64)
    inside = []
    for axis, overhang in enumerate(_overhang(node, op)):
        size, taps = static_shape(node.input)[axis + 1], np.arange(op.kernel.shape[axis])
        places = [taps * op.dilation_rate[axis] - start for start, _ in overhang]
        inside.append(np.array([(place >= 0) & (place < size) for place in places]))
    return by_tap.sum(axis=(0, 1)) - np.einsum("yi,xj,ijf->yxf", *(i.astype(int) for i in inside), by_tap)


def _why_not_bits(op: BinaryConv2D) -> Reason:
    if has_border_of(op, 0.0):
        return Reason(
            "its border is 0, which is no binary value", "train it with pad_value=1.0, the default"
        )
    return Reason("its sums are an output, or more than a sign reads them", "")
