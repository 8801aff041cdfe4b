"""The walk over the folded model; a target adds how it stores binary values and multiplies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.borders import uniform_border
from keras_sbn.conversion.float_layers import lower_float_layer, reason_to_be_float
from keras_sbn.conversion.integer_layer import IMAGE, integer_convolution, is_image
from keras_sbn.conversion.lowering import Lowering, LoweringError, Options, Reason, static_shape
from keras_sbn.conversion.writer import ModelWriter
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.kinds import grid, is_binary
from keras_sbn.folding.ops import (
    BinaryConv,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
    Placeholder,
    Reshape,
    Sign,
    Threshold,
)
from keras_sbn.folding.thresholds import between_grid_points, on_grid, round_up_to_float32


@dataclass(frozen=True)
class Obstacle(Reason):
    """Why a layer that should be binary cannot be, with the error that says so."""

    message: str


class BinaryLowering(Lowering):
    """Emits a folded model for a target that has binary operators.

    A value lives in a float32 tensor, or, where it is ±1, in a tensor of the target's own form; either
    is made from the other, once, where a consumer asks for it.

    Args:
        graph: The folded model.
        writer: Receives tensors and operators.
        allow_float_fallback: Whether a layer that should be binary and cannot be becomes a float layer,
            with the reason in the report, in place of an error.
    """

    def __init__(self, graph: Graph, writer: ModelWriter, allow_float_fallback: bool = False) -> None:
        super().__init__(graph, writer)
        self._allow_float_fallback = allow_float_fallback
        self._binaries: dict[int, int] = {}
        self._images: dict[int, tuple[int, int]] = {}
        #: The input tensors, in order.
        self.inputs: list[int] = []

    # What a target defines.

    def pack(self, node: Node, tensor: int) -> int:
        """Emits the binary tensor of a node whose float tensor holds -1 and +1."""
        raise NotImplementedError

    def unpack(self, node: Node, tensor: int) -> int:
        """Emits the float32 tensor of -1 and +1 of a node from its binary one."""
        raise NotImplementedError

    def compare(self, node: Node, op: Sign | Threshold) -> int:
        """Emits a sign or threshold of a float32 tensor and returns the binary tensor."""
        raise NotImplementedError

    def binary_convolution(self, node: Node, op: BinaryConv2D, reader: Node | None) -> int:
        """Emits a convolution of binary values.

        Returns:
            The binary tensor of `reader`, the threshold that is all that reads the convolution, or,
            without one, the float32 tensor of the accumulators.
        """
        raise NotImplementedError

    def max_pool(self, node: Node, layer: Any) -> int:
        """Emits max-pooling of a binary tensor."""
        raise NotImplementedError

    def reshape(self, node: Node) -> int:
        """Emits a reshape of a binary tensor."""
        raise NotImplementedError

    def concatenate(self, node: Node, axis: int) -> int:
        """Emits a concatenation of binary tensors."""
        raise NotImplementedError

    def binary_of_int8(self, node: Node, tensor: int) -> int:
        """The binary tensor of a node from an int8 one of scale 1 and zero point 127."""
        raise NotImplementedError

    def can_move(self, node: Node) -> bool:
        """Whether a reshape or concatenation can be done on the target's form of its inputs."""
        raise NotImplementedError

    def can_threshold(self, op: BinaryConv2D) -> bool:
        """Whether the target's convolution can compare its accumulators itself."""
        raise NotImplementedError

    def kernel_obstacle(self, node: Node, op: BinaryConv2D) -> Obstacle | None:
        """Why the target has no binary kernel for a convolution of binary values, if it has none."""
        raise NotImplementedError

    # The walk.

    def add_input(self, node: Node) -> None:
        """Adds an input of the model, of 8-bit integers or float32."""
        image = is_image(node)
        dtype, scale = ("uint8", 1.0) if image else ("float32", None)
        tensor = self.writer.tensor(node.name, static_shape(node), dtype, scale)
        self.inputs.append(tensor)
        if image:
            self._images[id(node)] = (tensor, -1)
        else:
            self.set_real(node, tensor)

    def real(self, node: Node) -> int:
        """The float32 tensor of a node; a binary value is unpacked on first use, an image converted."""
        if id(node) in self._images and id(node) not in self._reals:
            image, _ = self._images[id(node)]
            options: Options = ("Dequantize", {})
            shape = static_shape(node)
            real = self.emit(
                node.name, "DEQUANTIZE", [image], shape, suffix="float", options=options, version=2
            )
            self.set_real(node, real)
        if id(node) not in self._reals:
            self.set_real(node, self.unpack(node, self._binaries[id(node)]))
        return super().real(node)

    def binary(self, node: Node) -> int:
        """The binary tensor of a ±1 node; a float value is packed on first use."""
        if id(node) not in self._binaries:
            self._binaries[id(node)] = self.pack(node, self._reals[id(node)])
        return self._binaries[id(node)]

    def lower(self, node: Node) -> None:
        """Emits the operators of one node of the folded model.

        Raises:
            LoweringError: If a layer that should be binary cannot be, or a layer does not convert.
        """
        op = node.op
        if isinstance(op, Placeholder) or id(node) in self._reals:
            # What is there already was written by the convolution before it, which takes the ReLU too.
            return
        self.reasons[node.name] = reason_to_be_float(node)
        layer = op.operation if isinstance(op, KerasCall) else None
        if isinstance(op, Threshold) and self._is_fused(node.input):
            conv = node.input
            assert isinstance(conv.op, BinaryConv)
            if isinstance(conv.op, BinaryConv2D) and not is_image(conv.input):
                self._binaries[id(node)] = self.binary_convolution(conv, conv.op, node)
            else:
                self._binaries[id(node)] = self._integer_layer(conv, conv.op, node)
        elif isinstance(op, Sign | Threshold):
            self._binaries[id(node)] = self.compare(node, op)
        elif isinstance(op, BinaryConv | BinaryConv2DTranspose | BinaryDense):
            # What is fused is written by the threshold that reads it.
            if not self._is_fused(node):
                self._product(node, op)
        elif isinstance(layer, keras.layers.MaxPooling2D) and is_binary(node.input):
            self._binaries[id(node)] = self.max_pool(node, layer)
        elif isinstance(op, Reshape) and self._moves_bits(node):
            self._binaries[id(node)] = self.reshape(node)
        elif isinstance(layer, keras.layers.Concatenate) and self._moves_bits(node):
            self._binaries[id(node)] = self.concatenate(node, layer.axis % len(node.shape))
        else:
            lower_float_layer(self, node)

    def _product(self, node: Node, op: BinaryConv | BinaryConv2DTranspose | BinaryDense) -> None:
        obstacle = self._obstacle(node)
        if obstacle is not None and not self._allow_float_fallback:
            raise LoweringError(obstacle.message)
        if obstacle is not None:
            self.reasons[node.name] = Reason(obstacle.reason, obstacle.remedy)
        if obstacle is None and isinstance(op, BinaryConv2D) and is_binary(node.input):
            self.set_real(node, self.binary_convolution(node, op, None))
        else:
            lower_float_layer(self, node)

    def _is_fused(self, node: Node) -> bool:
        """Whether the convolution writes bits itself: a threshold a channel is all that reads it."""
        op = node.op
        if not isinstance(op, BinaryConv2D | IntegerConv2D) or not self.graph.has_one_use(node):
            return False
        (reader,) = self.graph.consumers(node)
        if not isinstance(reader.op, Threshold) or reader.op.threshold.ndim > 1:
            return False
        if not (reader.op.direction > 0).all() or grid(node) is None:
            return False
        if is_image(node.input):
            return op.padding == "valid" or (op.padding == "same" and uniform_border(op) == 0)
        if not isinstance(op, BinaryConv2D) or not is_binary(node.input):
            return False
        return self.can_threshold(op) and self._obstacle(node) is None

    def _integer_layer(self, node: Node, op: BinaryConv, reader: Node) -> int:
        self.reasons[node.name] = Reason("it reads the 8-bit image, in integer arithmetic", "")
        image, stored = self._images[id(node.input)]
        if stored == -1:
            stored = self.emit(
                node.input.name,
                "QUANTIZE",
                [image],
                static_shape(node.input),
                dtype="int8",
                suffix="int8",
                options=("Quantize", {}),
                quantization=IMAGE,
            )
            self._images[id(node.input)] = (image, stored)
        thresholds = integer_thresholds(node, reader)
        int8 = integer_convolution(self, node, op, thresholds, stored, reader.name, "int8")
        return self.binary_of_int8(reader, int8)

    def _moves_bits(self, node: Node) -> bool:
        known = all(is_binary(source) and id(source) in self._binaries for source in node.inputs)
        return known and self.can_move(node)

    def _obstacle(self, node: Node) -> Obstacle | None:
        """What keeps a ±1 kernel from being binary, unless it is the first layer and sees the image."""
        if is_binary(node.input) and isinstance(node.op, BinaryConv2D):
            return self.kernel_obstacle(node, node.op)
        if is_binary(node.input):
            return _no_kernel(node)
        culprit = _producer_of_reals(node.input)
        if culprit is None:
            return None
        remedy = f"put a SelfBinarizingActivation before {node.name!r}, or set binarize_input=True on it"
        return Obstacle(
            f"its input is real-valued and comes from {culprit.name!r}",
            remedy,
            f"Expected layer {node.name!r} to be binary. Received a real-valued input, which comes from "
            f"{culprit.name!r} without a sign between. {remedy[0].upper()}{remedy[1:]}. "
            "allow_float_fallback=True converts it as a float layer.",
        )


def _producer_of_reals(node: Node) -> Node | None:
    """The nearest layer with weights before `node`, or `None` where only the input is."""
    while not isinstance(node.op, Placeholder):
        layer = node.op.operation if isinstance(node.op, KerasCall) else node.op
        if not isinstance(layer, keras.layers.Layer) or layer.weights:
            return node
        node = node.inputs[0]
    return None


def _no_kernel(node: Node) -> Obstacle:
    kind = type(node.op).__name__
    return Obstacle(
        f"no target has a binary kernel for {kind}",
        "a two-dimensional convolution",
        "Expected a layer with a binary kernel: dense, one- or two-dimensional convolution. Received: "
        f"{node.name!r}, {kind}. allow_float_fallback=True converts what has a float counterpart.",
    )


def integer_thresholds(node: Node, reader: Node) -> np.ndarray:
    """The integers with which a threshold compares the integers that a convolution gives."""
    values = grid(node)
    assert values is not None
    assert isinstance(reader.op, Threshold)
    thresholds = on_grid(reader.op.threshold, values)
    return np.broadcast_to(thresholds, (static_shape(node)[-1],))


def exact_offset(node: Node, op: Threshold) -> np.ndarray:
    """What to subtract from a float32 x so that ``x >= threshold`` becomes a comparison with 0.

    The difference of two floats has the sign it should have, and it is +0.0 where they are equal. On a
    grid, half a step below decides, and elsewhere the next float32 at or above the threshold.
    """
    values = grid(node.input)
    if values is None:
        return round_up_to_float32(op.threshold)
    return between_grid_points(op.threshold, values)
