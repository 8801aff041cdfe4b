"""Lowering to the Larq Compute Engine: bits between binary layers, integer thresholds, no rounding.

The operators and their options are those of LCE 0.16 (mlir/ir/lce_ops.cc). A binary convolution counts
the products of -1, ``p = popcount(xor)``, of the K products it sums, so the accumulator is
``a = K - 2 p``. With bitpacked output it writes bit 1, which stands for -1, where ``p > tau``. For the
threshold t of the fold, an integer:

    a < t   <=>   K - 2 p < t   <=>   p > (K - t) / 2   <=>   p > floor((K - t) / 2) = tau

"same" padding with +1 is what the engine itself does when `pad_values` is 1.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn import bits
from keras_sbn.conversion.float_layers import (
    lower_float_layer,
    reason_to_be_float,
    reshape,
)
from keras_sbn.conversion.lowering import Lowering, LoweringError, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.folding.graph import Node
from keras_sbn.folding.kinds import grid, is_binary
from keras_sbn.folding.ops import (
    BinaryConv2D,
    BinaryDense,
    KerasCall,
    Placeholder,
    Reshape,
    Sign,
    Threshold,
)
from keras_sbn.folding.thresholds import between_grid_points, on_grid, round_up_to_float32


class LceLowering(Lowering):
    """Emits a folded model for the Larq Compute Engine.

    A binary value lives in a bitpacked int32 tensor, a real one in float32; either is made from the
    other, once, where a consumer asks for it.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._bits: dict[int, int] = {}

    def real(self, node: Node) -> int:
        """The float32 tensor of a node; a bitpacked value is unpacked on first use."""
        if id(node) not in self._reals:
            shape = static_shape(node)
            source = [self._bits[id(node)]]
            unpacked = self.emit(
                node.name, "LceDequantize", source, shape, suffix="unpacked", custom=None
            )
            self.set_real(node, unpacked)
        return super().real(node)

    def packed(self, node: Node) -> int:
        """The bitpacked tensor of a binary node; a float value is packed on first use."""
        if id(node) not in self._bits:
            shape = _packed_shape(static_shape(node))
            source = [self._reals[id(node)]]
            self._bits[id(node)] = self.emit(
                node.name, "LceQuantize", source, shape, dtype="int32", suffix="packed"
            )
        return self._bits[id(node)]

    def lower(self, node: Node) -> None:
        """Emits the operators of one node of the folded model."""
        op = node.op
        layer = op.operation if isinstance(op, KerasCall) else None
        if isinstance(op, Placeholder):
            return
        self.reasons[node.name] = reason_to_be_float(node)
        if isinstance(op, Threshold):
            self._threshold(node, op)
        elif isinstance(op, Sign):
            self._sign(node)
        elif isinstance(op, BinaryConv2D) and is_binary(node.input):
            if not self._becomes_threshold(node):
                self.set_real(node, self._binary_conv(node, op, None))
        elif isinstance(layer, keras.layers.MaxPooling2D) and is_binary(node.input):
            self._max_pool(node, layer)
        elif isinstance(op, Reshape) and self._stays_packed(node):
            shape = _packed_shape(static_shape(node))
            self._bits[id(node)] = reshape(self, node, self.packed(node.input), shape, "int32")
        else:
            self._require_binary_input(node)
            lower_float_layer(self, node)

    def _becomes_threshold(self, node: Node) -> bool:
        """Whether the convolution can write bits: a threshold is all that reads it."""
        if not isinstance(node.op, BinaryConv2D) or not is_binary(node.input):
            return False
        if not self.graph.has_one_use(node) or _pads_with_zeros(node.op):
            return False
        (reader,) = self.graph.consumers(node)
        if not isinstance(reader.op, Threshold) or reader.op.threshold.ndim > 1:
            return False
        return bool((reader.op.direction > 0).all())

    def _threshold(self, node: Node, op: Threshold) -> None:
        source = node.input
        if isinstance(source.op, BinaryConv2D) and self._becomes_threshold(source):
            values = grid(source)
            assert values is not None
            threshold = on_grid(op.threshold, values)
            self._bits[id(node)] = self._binary_conv(source, source.op, threshold)
            return
        # x >= t is x - t >= 0. The difference of two floats has the sign it should have, and it is +0.0
        # where they are equal: no -0.0 reaches the packing. On a grid, half a step is between.
        shape = static_shape(node)
        tensor = self.real(source)
        values = grid(source)
        offset = (
            round_up_to_float32(op.threshold)
            if values is None
            else between_grid_points(op.threshold, values)
        )
        if (op.direction < 0).any():
            tensor = self.arithmetic(node.name, "MUL", tensor, op.direction, shape)
        self.set_real(node, self.arithmetic(node.name, "SUB", tensor, offset, shape))
        self.packed(node)
        # What was compared is no longer the ±1 value; that one is unpacked from the bits if wanted.
        del self._reals[id(node)]

    def _sign(self, node: Node) -> None:
        # -0.0 + 0.0 is +0.0, and +0.0 packs as +1 on every processor.
        shape = static_shape(node)
        zero = np.zeros((), np.float32)
        self.set_real(node, self.arithmetic(node.name, "ADD", self.real(node.input), zero, shape))
        self.packed(node)
        del self._reals[id(node)]

    def _binary_conv(self, node: Node, layer: BinaryConv2D, threshold: np.ndarray | None) -> int:
        """Emits LceBconv2d: bitpacked with a threshold, the plain accumulator in float32 without."""
        kernel = layer.kernel
        height, width, depth, filters = kernel.shape
        channels = depth * layer.groups
        _require_groups_of_words(node, layer, depth)
        products = height * width * depth
        packed_kernel = bits.pack(kernel.transpose(3, 0, 1, 2))
        inputs = [self.packed(node.input), self.constant(node.name, "kernel", packed_kernel)]
        if threshold is None:
            ones, zeros = np.ones(filters, np.float32), np.zeros(filters, np.float32)
            inputs += [
                self.constant(node.name, "multiplier", ones),
                self.constant(node.name, "bias", zeros),
                -1,
            ]
        else:
            tau = np.floor((products - threshold) / 2)
            inputs += [-1, -1, self.constant(node.name, "threshold", tau.astype(np.int32))]
        shape = static_shape(node)
        return self.emit(
            node.name,
            "LceBconv2d",
            inputs,
            shape if threshold is None else _packed_shape(shape),
            dtype="float32" if threshold is None else "int32",
            custom={
                "channels_in": channels,
                "dilation_height_factor": layer.dilation_rate[0],
                "dilation_width_factor": layer.dilation_rate[1],
                "fused_activation_function": ACTIVATION["none"],
                "pad_values": _pad_value(node, layer),
                "padding": PADDING[layer.padding],
                "stride_height": layer.strides[0],
                "stride_width": layer.strides[1],
            },
        )

    def _max_pool(self, node: Node, layer: Any) -> None:
        self._bits[id(node)] = self.emit(
            node.name,
            "LceBMaxPool2d",
            [self.packed(node.input)],
            _packed_shape(static_shape(node)),
            dtype="int32",
            custom={
                "padding": PADDING[layer.padding],
                "stride_width": layer.strides[1],
                "stride_height": layer.strides[0],
                "filter_width": layer.pool_size[1],
                "filter_height": layer.pool_size[0],
            },
        )

    def _stays_packed(self, node: Node) -> bool:
        """Whether a reshape of bits is a reshape of words: the last axis is whole words or stays."""
        if not is_binary(node.input) or id(node.input) not in self._bits:
            return False
        before, after = static_shape(node.input)[-1], static_shape(node)[-1]
        return before == after or (before % bits.WORD == 0 and after % bits.WORD == 0)

    def _require_binary_input(self, node: Node) -> None:
        """A ±1 kernel belongs on a ±1 input, unless it is the first layer and sees the image."""
        if not isinstance(node.op, BinaryConv2D | BinaryDense) or is_binary(node.input):
            return
        culprit = _producer_of_reals(node.input)
        if culprit is not None:
            raise LoweringError(
                f"Expected layer {node.name!r} to be binary. Received a real-valued input, which comes "
                f"from {culprit.name!r} without a sign between. Put a SelfBinarizingActivation before "
                f"{node.name!r}, or set binarize_input=True on it."
            )


def _producer_of_reals(node: Node) -> Node | None:
    """The nearest layer with weights before `node`, or `None` where only the input is."""
    while not isinstance(node.op, Placeholder):
        layer = node.op.operation if isinstance(node.op, KerasCall) else node.op
        if not isinstance(layer, keras.layers.Layer) or layer.weights:
            return node
        node = node.inputs[0]
    return None


def _packed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], bits.words(shape[-1]))


def _pads_with_zeros(layer: BinaryConv2D) -> bool:
    return layer.padding == "same" and bool((layer.pad_values == 0).all())


def _pad_value(node: Node, layer: BinaryConv2D) -> int:
    if layer.padding == "valid":
        return 0
    values = set(layer.pad_values.tolist())
    if values not in ({0.0}, {1.0}):
        raise LoweringError(
            "Expected a border of +1 or 0, the two the Larq Compute Engine knows. Received: "
            f"{node.name!r} padded with {sorted(values)}. Train it with pad_value=1.0."
        )
    return int(values.pop())


def _require_groups_of_words(node: Node, layer: BinaryConv2D, depth: int) -> None:
    if layer.groups > 1 and depth % bits.WORD:
        raise LoweringError(
            f"Expected input channels a group in multiples of {bits.WORD}, as the Larq Compute Engine "
            f"packs them. Received: {node.name!r} with groups={layer.groups}, {depth} channels a group."
        )
