"""What every target of the TFLite family shares: how a node is written, and in which type."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from keras_sbn.conversion.calibration import Calibration
from keras_sbn.conversion.comparisons import as_threshold
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.fused import FusedThreshold
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.layers import thresholds
from keras_sbn.conversion.layers.linear import Linear, identity, linear_of_call, per_channel
from keras_sbn.conversion.layers.transposed import fused_threshold
from keras_sbn.conversion.operators import Operators
from keras_sbn.conversion.plan import NO_REASON, LoweringError, Reason, Unsupported
from keras_sbn.conversion.reasons import no_kernel, reason_to_be_float, unsupported_input
from keras_sbn.conversion.registry import Call, Lowering, lowering_of
from keras_sbn.conversion.scales import Scales, WideScales
from keras_sbn.conversion.values import BinaryForm, Values
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    BinaryConv2D,
    BinaryConv2DTranspose,
    Placeholder,
    Product,
    Sign,
    Threshold,
)
from keras_sbn.folding.value_ranges import is_binary, is_image
from keras_sbn.tflite.writer import ModelWriter


@dataclass(frozen=True)
class Settings:
    """What is asked of a conversion.

    Attributes:
        allow_float_fallback: Whether a layer that should be binary and cannot be becomes a float layer,
            with the reason in the report, in place of an error.
        quantize: Whether what is not binary computes in int8.
        float_layers: Names of the layers that compute in float32 all the same.
        input_type: The type of the file's inputs, or `None` for that of the model's.
        output_type: The type of its outputs, or `None` for the target's.
        weight_bits: Bits of a weight of ±1 kernels: 8, 4, 2 or "auto".
        allow_rounded_signs: Whether a target of integers takes signs of numbers that it rounds, in place
            of an error.
    """

    allow_float_fallback: bool = False
    quantize: bool = False
    float_layers: frozenset[str] = frozenset()
    input_type: str | None = None
    output_type: str | None = None
    weight_bits: int | str = 8
    allow_rounded_signs: bool = False


class Target(BinaryForm):
    """Writes the nodes of a folded model, one after the other.

    Args:
        writer: Receives tensors and operators.
        settings: What is asked for.
        calibration: The ranges of the values that int8 tensors hold.
    """

    #: The result of a conversion, which says what is saved.
    result: ClassVar[type[ConvertedModel]] = ConvertedModel
    #: Whether what is not binary can compute in int8.
    has_int8: ClassVar[bool] = True
    #: Whether accumulators of binary values come as float32 without another kernel.
    has_float_accumulators: ClassVar[bool]
    #: Which ReLUs of its float32 accumulators a convolution of bits takes that has its sums at once.
    float_relus: ClassVar[tuple[str, ...]] = ()
    #: What to add to the name of a comparison in int8; nothing where that is the target's own form.
    comparison_suffix: ClassVar[str]
    #: The bits a weight that a target can store ±1 kernels in, where it has a choice.
    weight_bits: ClassVar[tuple[int | str, ...]] = ()
    #: What to do where no integer operator computes a layer.
    without_integers: ClassVar[str] = (
        "allow_float_fallback=True computes it in float32, activations='float32' all that is not binary."
    )

    def __init__(self, writer: ModelWriter, settings: Settings, calibration: Calibration | None) -> None:
        self.settings = settings
        self.emitter = Operators(writer)
        self.scales = (WideScales if self.wide_numbers else Scales)(calibration)
        self.values = Values(self.emitter, self, self.scales)
        #: Tensors that are made once and read by several operators, by what the target knows them by.
        self.shared: dict[Any, Tensor] = {}
        #: Nodes that compute in float32 where others do in int8 (`passes.keep_float`).
        self.float_nodes: set[int] = set()
        #: Signs and thresholds written so far of numbers that the target rounds without being told to.
        self.rounded_signs: list[str] = []

    @abstractmethod
    def compare(self, call: Call, x: Tensor) -> Tensor:
        """Emits a sign or threshold of a float32 tensor and returns the bits."""

    def compare_int8(self, call: Call, x: Tensor) -> Tensor:
        """Emits a sign or threshold of an int8 tensor and returns the bits."""
        return self._compared(call, identity(call.output.shape), as_threshold(call.node.op), x)

    def _compared(self, call: Call, linear: Linear, comparison: Threshold, x: Tensor) -> Tensor:
        """Emits the comparison of a linear layer's integer sums and returns the bits."""
        found = thresholds.compared(call, linear, comparison, x, self.comparison_suffix)
        return self.to_bits(call.node, found)

    @abstractmethod
    def convolution(self, call: Call) -> Tensor:
        """Emits a convolution of bits: with a fused threshold the bits, else the float32 accumulators."""

    @abstractmethod
    def rounded_convolution(self, call: Call) -> Tensor:
        """Emits a convolution of bits, what is fused included, whose accumulators are wanted as int8."""

    def finishes(self, op: BinaryConv2D) -> bool:
        """Whether a convolution of bits has its sums at once, and not after a correction of its padding.

        It can leave out the last rows and columns of its output then, and write its accumulators as int8,
        a fused ReLU included.
        """
        return True

    @abstractmethod
    def unsupported_convolution(self, name: str, op: BinaryConv2D) -> Unsupported | None:
        """Why the target has no kernel for a convolution of bits, if it has none."""

    def unsupported_accumulators(self, name: str, op: BinaryConv2D) -> Unsupported | None:
        """Why the target cannot write the accumulators of a convolution as numbers, if it cannot."""
        return None

    def unsupported_transposed(self, name: str, op: BinaryConv2DTranspose) -> Unsupported | None:
        """Why the target cannot sum a transposed convolution of ±1 exactly, if it cannot."""
        return no_kernel(name, op)

    def unsupported(self, name: str, op: Any, source: Node) -> Unsupported | None:
        """What keeps a ±1 kernel that reads `source` from being binary.

        A first layer, which sees the image, need not be.
        """
        if not is_binary(source):
            return unsupported_input(name, source)
        if isinstance(op, BinaryConv2D):
            return self.unsupported_convolution(name, op)
        if isinstance(op, BinaryConv2DTranspose):
            return self.unsupported_transposed(name, op)
        return no_kernel(name, op)

    def reason_of(self, node: Node, op: Any) -> Reason:
        """Why a layer that computes `op` is not binary, and how far off its values are."""
        return reason_to_be_float(node, op)

    def compared_input(self, call: Call) -> Tensor:
        """The integers whose sums are compared inside the operator of a linear layer."""
        return self.values.compared(call.node.input)

    def compares_rounded_sums(self, linear: Linear) -> bool:
        """Whether sums of rounded values are compared inside the operator of a linear layer."""
        return True

    def sums_bits(self, node: Node) -> bool:
        """Whether a node is a convolution of bits that the target has a kernel for."""
        op = node.op
        if not isinstance(op, BinaryConv2D) or not is_binary(node.input):
            return False
        return self.unsupported_convolution(node.name, op) is None

    def write(self, node: Node) -> None:
        """Emits the operators of one node.

        Raises:
            LoweringError: If a layer that should be binary cannot be, or a layer does not convert.
        """
        if isinstance(node.op, Placeholder):
            return
        call = Call(node, self.emitter, self.values, self.scales)
        self.emitter.reasons[call.layer] = self.reason_of(node, call.inner)
        if isinstance(node.op, FusedThreshold):
            self.values.set_bits(node, self._fused_threshold(call, node.op))
        elif isinstance(node.op, Sign | Threshold):
            self.values.set_bits(node, self._comparison(call))
        elif isinstance(call.op, Product):
            self._product(call)
        else:
            self._layer(call)

    def _fused_threshold(self, call: Call, fused: FusedThreshold) -> Tensor:
        node = call.node
        if not fused.exact:
            return self._compared(call, linear_of_call(call), fused, self.compared_input(call))
        self.emitter.reasons[call.layer] = NO_REASON
        if isinstance(call.op, BinaryConv2D) and not is_image(node.input):
            return self.convolution(call)
        x = self.values.int8(node.input)
        if isinstance(call.op, BinaryConv2DTranspose):
            return self.to_bits(node, fused_threshold(call, x, fused.threshold))
        self.emitter.reasons[call.layer] = Reason("it reads the 8-bit image, in integer arithmetic", "")
        compared = thresholds.first_layer(call, x, fused.threshold, self.comparison_suffix)
        return self.to_bits(node, compared)

    def _comparison(self, call: Call) -> Tensor:
        """Emits a sign or threshold of an int8 value or a float32 one."""
        node, source = call.node, call.node.input
        everywhere = per_channel(as_threshold(node.op), static_shape(node)[-1]) is None
        if not self.settings.quantize or self.values.is_float_alone(source) or everywhere:
            return self.compare(call, self.values.float32(source))
        return self.compare_int8(call, self.values.int8(source))

    def _product(self, call: Call) -> None:
        """Emits a convolution or dense layer of a ±1 kernel whose accumulators are wanted as numbers."""
        node, op = call.node, call.op
        sums = isinstance(op, BinaryConv2D) and is_binary(node.input)
        unsupported = self.unsupported(call.layer, op, node.input)
        if sums:
            unsupported = unsupported or self.unsupported_accumulators(call.layer, op)
        if unsupported is not None:
            if not self.settings.allow_float_fallback:
                raise LoweringError(unsupported.message)
            self.emitter.reasons[call.layer] = Reason(unsupported.reason, unsupported.remedy)
        if unsupported is not None or not sums:
            self._layer(call)
        elif self.in_int8(node):
            self.values.set(node, self.rounded_convolution(call))
        else:
            self.values.set(node, self.convolution(call))

    def in_int8(self, node: Node) -> bool:
        """Whether a node that is not binary computes in int8."""
        return self.settings.quantize and id(node) not in self.float_nodes

    def _layer(self, call: Call) -> None:
        """Emits a layer on bits or stored integers, where it only moves them, in int8 or in float32."""
        node, lowering = call.node, lowering_of(call.node)
        if self._on_bits(node, lowering):
            call.inputs = [self.values.bits(source) for source in node.inputs]
            dtype, shape = call.inputs[0].dtype, self.bits_shape(call.output.shape)
            call.output = call.output.also(quant=self.bits_quant, dtype=dtype, shape=shape)
            if lowering.bits == "selects":
                self.emitter.reasons[call.layer] = NO_REASON
                call.output = call.output.also(binary=True)
            self.values.set_bits(node, lowering.function(call))
            return
        moved = lowering.bits == "moves" and len(node.inputs) == 1
        # The stored 8-bit values, for a first layer to read.
        integers = self.values.integers(node.input) if moved else None
        if integers is not None:
            call.inputs = [integers]
            call.output = call.output.also(quant=integers.quant, dtype=integers.dtype)
        elif not self.in_int8(node) or not self._has_int8(call, lowering):
            call.inputs = [self.values.float32(source) for source in node.inputs]
        self.values.set(node, lowering.function(call))

    def _on_bits(self, node: Node, lowering: Lowering) -> bool:
        if not lowering.bits or not all(is_binary(source) for source in node.inputs):
            return False
        if lowering.bits == "selects":
            return True
        # Moving bits is moving numbers where the channels fill them, or stay together.
        channels = [static_shape(source)[-1] for source in (*node.inputs, node)]
        whole = len(set(channels)) == 1 or all(count % self.packed == 0 for count in channels)
        return whole and all(self.values.has_bits(source) for source in node.inputs)

    def _has_int8(self, call: Call, lowering: Lowering) -> bool:
        """Prepares a call in int8, or notes that there is no operator."""
        quant = None if lowering.int8 is None else lowering.int8(call)
        if quant is not None:
            call.output = call.output.also(quant=quant)
            return True
        kind = type(call.op).__name__
        if self.wide_numbers or not self.settings.allow_float_fallback:
            raise LoweringError(
                f"Expected a layer that integer operators compute. Received: {kind} {call.layer!r}. "
                f"{self.without_integers}"
            )
        remedy = "another layer, or activations='float32'"
        self.emitter.reasons[call.layer] = Reason(f"no int8 operator computes {kind}", remedy)
        return False
