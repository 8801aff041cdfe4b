"""The walk over the folded model; a target adds how it stores binary values and multiplies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.borders import uniform_border
from keras_sbn.conversion.calibration import Calibration
from keras_sbn.conversion.float_layers import (
    lower_float_layer,
    reason_to_be_float,
    require_channels_last,
    reshape,
)
from keras_sbn.conversion.int8_layers import (
    Int8,
    emit_decision,
    identity,
    linear_of,
    lower_to_int8,
    per_channel,
)
from keras_sbn.conversion.integer_layer import IMAGE, integer_convolution
from keras_sbn.conversion.lowering import (
    NO_REASON,
    Lowering,
    LoweringError,
    Options,
    Reason,
    static_shape,
)
from keras_sbn.conversion.quantization import INTEGER, Scale, fixed_scale, scale_of_range
from keras_sbn.conversion.transposed import transposed_decision
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    Affine,
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
from keras_sbn.folding.value_ranges import grid, is_binary, is_image
from keras_sbn.tflite.writer import ModelWriter

#: What an unsigned zero point is above the signed one.
_UNSIGNED = 128


@dataclass(frozen=True)
class Obstacle(Reason):
    """Why a layer that should be binary cannot be, with the error that says so."""

    message: str


class BinaryLowering(Lowering):
    """Emits a folded model for a target that has binary operators.

    A value lives in a float32 tensor, in an int8 one with a scale, or, where it is ±1, in a tensor of
    the target's own form; each is made from another, once, where a consumer asks for it.

    Args:
        graph: The folded model.
        writer: Receives tensors and operators.
        allow_float_fallback: Whether a layer that should be binary and cannot be becomes a float layer,
            with the reason in the report, in place of an error.
        quantize: Whether what is not binary computes in int8.
        calibration: The ranges of the values that int8 tensors hold.
        float_outputs: Whether the model's outputs are wanted in float32.
    """

    def __init__(
        self,
        graph: Graph,
        writer: ModelWriter,
        allow_float_fallback: bool = False,
        quantize: bool = False,
        calibration: Calibration | None = None,
        float_outputs: bool = True,
    ) -> None:
        super().__init__(graph, writer)
        self._allow_float_fallback = allow_float_fallback
        self._quantize = quantize
        self._calibration = calibration
        self._float_outputs = float_outputs
        self._binaries: dict[int, int] = {}
        self._int8s: dict[int, Int8] = {}
        self._unsigned: dict[int, int] = {}
        #: Nodes that are part of the operator of a node before them.
        self._absorbed: set[int] = set()
        #: Nodes that stay float32 up to a float32 output.
        self._exact: set[int] = set()
        #: The input tensors, in order.
        self.inputs: list[int] = []

    # What a target defines.

    def pack(self, node: Node, tensor: int) -> int:
        """Emits the binary tensor of a node whose float tensor holds -1 and +1."""
        raise NotImplementedError

    def unpack(self, node: Node, tensor: int) -> int:
        """Emits the float32 tensor of -1 and +1 of a node from its binary one."""
        raise NotImplementedError

    def pack_int8(self, node: Node, tensor: int) -> int:
        """Emits the binary tensor of a node from the int8 one of -1 and +1 themselves."""
        raise NotImplementedError

    def unpack_int8(self, node: Node, tensor: int) -> int:
        """Emits the int8 tensor of -1 and +1 themselves, of scale 1 and zero point 0."""
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

    def last_of_sums(self, node: Node, op: BinaryConv2D) -> Node:
        """The last node that the target's convolution computes in float32: itself, or a ReLU after it."""
        return node

    def quantized_sums(self, node: Node, op: BinaryConv2D) -> Node:
        """Emits a convolution of binary values whose sums are wanted as int8 numbers.

        Returns:
            The last node that its operator computes: the convolution, or what scales its channels.
        """
        raise NotImplementedError

    def compare_int8(self, node: Node, op: Sign | Threshold) -> int | None:
        """Emits the binary tensor of a sign of an int8 value, where the target has a way of its own."""
        raise NotImplementedError

    def transposed_obstacle(self, node: Node, op: BinaryConv2DTranspose) -> Obstacle | None:
        """Why the target cannot sum a transposed convolution of binary values exactly, if it cannot."""
        raise NotImplementedError

    #: Whether sums of binary values come as float32 without another kernel.
    has_float_sums: bool
    #: What to add to the name of a decision in int8; nothing where that is the target's own form.
    decision_suffix: str

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

    def can_drop_positions(self, node: Node, op: BinaryConv2D) -> bool:
        """Whether the target's convolution can leave out the last rows and columns of its output."""
        raise NotImplementedError

    def kernel_obstacle(self, node: Node, op: BinaryConv2D) -> Obstacle | None:
        """Why the target has no binary kernel for a convolution of binary values, if it has none."""
        raise NotImplementedError

    # The walk.

    def add_input(self, node: Node, dtype: str | None = None) -> None:
        """Adds an input of the model, "float32", "int8" or "uint8"; by default as the model has it."""
        dtype = dtype or ("uint8" if is_image(node) else "float32")
        shape = static_shape(node)
        if dtype == "float32":
            tensor = self.writer.tensor(node.name, shape, dtype)
            self.set_real(node, tensor)
        else:
            scale, zero_point = self.scale(node)
            if dtype == "int8":
                tensor = self.writer.tensor(node.name, shape, dtype, scale, zero_point)
                self.set_int8(node, Int8(tensor, self.scale(node)))
            else:
                tensor = self.writer.tensor(node.name, shape, dtype, scale, zero_point + _UNSIGNED)
                self._unsigned[id(node)] = tensor
        self.inputs.append(tensor)

    def output(self, node: Node, dtype: str) -> int:
        """The tensor of an output of the model, "float32", "int8" or "uint8"."""
        if dtype == "float32":
            return self.real(node)
        value = self.int8(node)
        if dtype == "int8":
            return value.tensor
        scale, zero_point = value.scale
        return self.emit(
            node.name,
            "QUANTIZE",
            [value.tensor],
            static_shape(node),
            dtype="uint8",
            suffix="uint8",
            options=("Quantize", {}),
            version=2,
            quantization=(scale, zero_point + _UNSIGNED),
        )

    def real(self, node: Node) -> int:
        """The float32 tensor of a node; a binary value is unpacked on first use, int8 converted."""
        key = id(node)
        if key in self._reals:
            return super().real(node)
        if key in self._binaries:
            self.set_real(node, self.unpack(node, self._binaries[key]))
        else:
            stored = self._unsigned[key] if key in self._unsigned else self._int8s[key].tensor
            options: Options = ("Dequantize", {})
            shape = static_shape(node)
            real = self.emit(
                node.name, "DEQUANTIZE", [stored], shape, suffix="float", options=options, version=2
            )
            self.set_real(node, real)
        return super().real(node)

    def int8(self, node: Node) -> Int8:
        """The int8 tensor of a node; another form is converted on first use."""
        key = id(node)
        if key in self._int8s:
            return self._int8s[key]
        if key in self._binaries:
            value = Int8(self.unpack_int8(node, self._binaries[key]), INTEGER)
        else:
            stored = self._unsigned[key] if key in self._unsigned else self._reals[key]
            scale = self.scale(node)
            tensor = self.emit(
                node.name,
                "QUANTIZE",
                [stored],
                static_shape(node),
                dtype="int8",
                suffix="int8",
                options=("Quantize", {}),
                version=2 if key in self._unsigned else 1,
                quantization=scale,
            )
            value = Int8(tensor, scale)
        self.set_int8(node, value)
        return value

    def set_int8(self, node: Node, value: Int8) -> None:
        """Says which int8 tensor holds a node's value."""
        self._int8s[id(node)] = value

    def scale(self, node: Node) -> Scale:
        """How a node's value is stored in int8."""
        if is_image(node):
            return Scale(*IMAGE)
        if is_binary(node):
            return INTEGER
        fixed = fixed_scale(node)
        return self._ranges(node).scale(node) if fixed is None else fixed

    def finest_scale(self, node: Node) -> Scale:
        """The finest scale that holds a node's value, its grid aside."""
        if is_image(node):
            return Scale(*IMAGE)
        low, high = (-1.0, 1.0) if is_binary(node) else self._ranges(node).range(node)
        return scale_of_range(low, high)

    def _ranges(self, node: Node) -> Calibration:
        if self._calibration is None:
            raise LoweringError(
                "Expected `representative_data`, from which the scales of int8 values follow. Received: "
                f"none, and {node.name!r} is to be int8. Give some hundred inputs of the kind the model "
                "will see."
            )
        return self._calibration

    def binary(self, node: Node) -> int:
        """The binary tensor of a ±1 node; another form is packed on first use."""
        key = id(node)
        if key not in self._binaries:
            if key in self._int8s:
                self._binaries[key] = self.pack_int8(node, self._int8s[key].tensor)
            else:
                self._binaries[key] = self.pack(node, self._reals[key])
        return self._binaries[key]

    def can_drop(self, node: Node) -> bool:
        """Whether the last rows and columns of a node's output need not be computed."""
        if not isinstance(node.op, BinaryConv2D) or not is_binary(node.input):
            return False
        return self._obstacle(node) is None and self.can_drop_positions(node, node.op)

    def lower(self, node: Node) -> None:
        """Emits the operators of one node of the folded model.

        Raises:
            LoweringError: If a layer that should be binary cannot be, or a layer does not convert.
        """
        op = node.op
        if isinstance(op, Placeholder) or id(node) in self._absorbed:
            return
        self.reasons[node.name] = reason_to_be_float(node)
        layer = op.operation if isinstance(op, KerasCall) else None
        if isinstance(op, Threshold) and self._is_fused(node.input):
            conv = node.input
            assert isinstance(conv.op, BinaryConv | BinaryConv2DTranspose)
            if isinstance(conv.op, BinaryConv2DTranspose):
                self.reasons[conv.name] = NO_REASON
                thresholds = integer_thresholds(conv, node)
                self._binaries[id(node)] = transposed_decision(self, conv, conv.op, node, thresholds)
            elif isinstance(conv.op, BinaryConv2D) and not is_image(conv.input):
                self._binaries[id(node)] = self.binary_convolution(conv, conv.op, node)
            else:
                self._binaries[id(node)] = self._integer_layer(conv, conv.op, node)
        elif isinstance(op, Sign | Threshold):
            self._binaries[id(node)] = self._decision(node, op)
        elif self._is_decided(node):
            # The sign or threshold that reads it computes it.
            pass
        elif isinstance(op, BinaryConv | BinaryConv2DTranspose | BinaryDense):
            # What is fused is written by the threshold that reads it.
            if not self._is_fused(node):
                self._product(node, op)
        elif isinstance(layer, keras.layers.MaxPooling2D) and is_binary(node.input):
            require_channels_last(node, layer)
            self._binaries[id(node)] = self.max_pool(node, layer)
        elif isinstance(op, Reshape) and self._moves_bits(node):
            self._binaries[id(node)] = self.reshape(node)
        elif isinstance(op, Reshape) and self._has_integers_alone(node.input):
            self._reshape_integers(node)
        elif isinstance(layer, keras.layers.Concatenate) and self._moves_bits(node):
            self._binaries[id(node)] = self.concatenate(node, layer.axis % len(node.shape))
        else:
            self._lower_real(node)

    def _has_integers_alone(self, node: Node) -> bool:
        key = id(node)
        return key not in self._reals and (key in self._unsigned or key in self._int8s)

    def _reshape_integers(self, node: Node) -> None:
        """Emits the reshape of 8-bit values as they are stored, for a first layer to read."""
        shape, key = static_shape(node), id(node.input)
        if key in self._unsigned:
            scale, zero_point = self.scale(node.input)
            stored = (scale, zero_point + _UNSIGNED)
            self._unsigned[id(node)] = reshape(self, node, self._unsigned[key], shape, "uint8", stored)
            return
        source = self.int8(node.input)
        tensor = reshape(self, node, source.tensor, shape, "int8", source.scale)
        self.set_int8(node, Int8(tensor, source.scale))

    def _product(self, node: Node, op: BinaryConv | BinaryConv2DTranspose | BinaryDense) -> None:
        obstacle = self._obstacle(node)
        if obstacle is not None and not self._allow_float_fallback:
            raise LoweringError(obstacle.message)
        if obstacle is not None:
            self.reasons[node.name] = Reason(obstacle.reason, obstacle.remedy)
        if obstacle is not None or not isinstance(op, BinaryConv2D) or not is_binary(node.input):
            self._lower_real(node)
        elif self._quantize and not self._stays_float(node):
            self._absorb(node, self.quantized_sums(node, op))
        else:
            last = self.last_of_sums(node, op)
            self.set_real(last, self.binary_convolution(node, op, None))
            self._absorb(node, last)

    def _lower_real(self, node: Node) -> None:
        """Emits a layer that is not binary, in int8 or float32."""
        if not self._quantize or id(node) in self._exact:
            lower_float_layer(self, node)
            return
        last = lower_to_int8(self, node)
        if last is not None:
            self._absorb(node, last)
            return
        kind = type(node.op.operation if isinstance(node.op, KerasCall) else node.op).__name__
        if not self._allow_float_fallback:
            raise LoweringError(
                f"Expected a layer that int8 operators compute. Received: {kind} {node.name!r}. "
                "allow_float_fallback=True computes it in float32, activations='float32' all that is not "
                "binary."
            )
        remedy = "another layer, or activations='float32'"
        self.reasons[node.name] = Reason(f"no int8 operator computes {kind}", remedy)
        lower_float_layer(self, node)

    def _absorb(self, node: Node, last: Node) -> None:
        """Notes the nodes after `node` up to `last`, which its operator computes as well."""
        while node is not last:
            (node,) = self.graph.consumers(node)
            self._absorbed.add(id(node))

    def _stays_float(self, node: Node) -> bool:
        """Whether exact sums of binary values go to a float32 output and nowhere else.

        Where the target has them in float32 at no cost, int8 would only round them.
        """
        if not self.has_float_sums or not self._float_outputs:
            return False
        path = [node]
        while not self.graph.is_output(path[-1]):
            if not self.graph.has_one_use(path[-1]):
                return False
            (reader,) = self.graph.consumers(path[-1])
            if not isinstance(reader.op, Affine | Reshape):
                return False
            path.append(reader)
        if self.graph.consumers(path[-1]):
            return False
        self._exact.update(id(step) for step in path)
        return True

    def _is_decided(self, node: Node) -> bool:
        """Whether a sign or threshold is all that reads a linear layer, and int8 can compare its sums."""
        op = node.op
        sums = isinstance(op, BinaryConv2D) and is_binary(node.input)
        if not self._quantize or sums or not self.graph.has_one_use(node):
            return False
        (reader,) = self.graph.consumers(node)
        if not isinstance(reader.op, Sign | Threshold) or linear_of(node) is None:
            return False
        if isinstance(op, BinaryConv | BinaryDense) and self._obstacle(node) is not None:
            return False
        return isinstance(reader.op, Sign) or per_channel(reader.op, static_shape(node)[-1]) is not None

    def _decision(self, node: Node, op: Sign | Threshold) -> int:
        """Emits a sign or threshold: of a linear layer's sums, an int8 value or a float32 one."""
        source = node.input
        if self._is_decided(source):
            linear = linear_of(source)
            assert linear is not None
            layer = source
        elif not self._quantize or (id(source) in self._reals and id(source) not in self._int8s):
            return self.compare(node, op)
        else:
            found = self.compare_int8(node, op)
            if found is not None:
                return found
            shape = static_shape(node)
            if isinstance(op, Threshold) and per_channel(op, shape[-1]) is None:
                return self.compare(node, op)
            linear, layer = identity(shape), node
        tensor = emit_decision(self, layer, linear, node, self.decision_suffix)
        return self.binary_of_int8(node, tensor)

    def _is_fused(self, node: Node) -> bool:
        """Whether the convolution writes bits itself: a threshold a channel is all that reads it."""
        op = node.op
        kinds = BinaryConv2D | IntegerConv2D | BinaryConv2DTranspose
        if not isinstance(op, kinds) or not self.graph.has_one_use(node):
            return False
        (reader,) = self.graph.consumers(node)
        if not isinstance(reader.op, Threshold) or reader.op.threshold.ndim > 1:
            return False
        if isinstance(op, BinaryConv2DTranspose):
            known = is_binary(node.input) and grid(node) is not None
            return known and self.transposed_obstacle(node, op) is None
        if not (reader.op.direction > 0).all() or grid(node) is None:
            return False
        if is_image(node.input):
            return op.padding == "valid" or (op.padding == "same" and uniform_border(op) == 0)
        if not isinstance(op, BinaryConv2D) or not is_binary(node.input):
            return False
        return self.can_threshold(op) and self._obstacle(node) is None

    def _integer_layer(self, node: Node, op: BinaryConv, reader: Node) -> int:
        self.reasons[node.name] = Reason("it reads the 8-bit image, in integer arithmetic", "")
        stored = self.int8(node.input).tensor
        thresholds = integer_thresholds(node, reader)
        name, suffix = reader.name, self.decision_suffix
        int8 = integer_convolution(self, node, op, thresholds, stored, name, suffix)
        return self.binary_of_int8(reader, int8)

    def _moves_bits(self, node: Node) -> bool:
        known = all(is_binary(source) and id(source) in self._binaries for source in node.inputs)
        return known and self.can_move(node)

    def _obstacle(self, node: Node) -> Obstacle | None:
        """What keeps a ±1 kernel from being binary, unless it is the first layer and sees the image."""
        if is_binary(node.input) and isinstance(node.op, BinaryConv2D):
            return self.kernel_obstacle(node, node.op)
        if is_binary(node.input) and isinstance(node.op, BinaryConv2DTranspose):
            return self.transposed_obstacle(node, node.op)
        if is_binary(node.input):
            return no_kernel(node)
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
    """The nearest layer with weights before `node`, or `None` where only an input is.

    What comes before the first product only prepares the input: it moves values, or scales them.
    """
    op = node.op
    if isinstance(op, BinaryConv | BinaryConv2DTranspose | BinaryDense):
        return node
    if isinstance(op, KerasCall) and getattr(op.operation, "weights", None):
        return node
    before = next((found for source in node.inputs if (found := _producer_of_reals(source))), None)
    return node if before is not None and isinstance(op, Affine) else before


def no_kernel(node: Node) -> Obstacle:
    """The obstacle that the target has no operator for binary values of this kind."""
    kind = type(node.op).__name__
    transposed = isinstance(node.op, BinaryConv2DTranspose)
    remedy = "target='tflite' has one" if transposed else "a two-dimensional convolution"
    return Obstacle(
        f"the target has no binary kernel for {kind}",
        remedy,
        "Expected a layer with a binary kernel: dense, one- or two-dimensional convolution. Received: "
        f"{node.name!r}, {kind}. The way out: {remedy}. allow_float_fallback=True converts what has a "
        "float counterpart.",
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
