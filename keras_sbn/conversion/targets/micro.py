"""Lowering to integers alone, as TensorFlow Lite Micro and Arm's Ethos-U compute them.

Binary layers are those of the portable target: one int8 operator each, exact. What is left are numbers:
sums of ±1 that are an output or are added to others, and what float layers compute. They are int16 of
zero point 0, of an int16 convolution with int8 weights.

A sum of ±1 is exact in int16: its step is 1, and its bound is known. What is scaled, averaged and added
is stored in steps of a power of two, so that values on such a grid stay exact as well: one that is
multiplied with a power of two, a sum of two of them, a maximum. Other numbers are rounded to the step,
1/65,536 of their range or finer than 1/32,768 of it, and the report says what it is.

A sign of numbers is a depthwise convolution with the weight ±1 and the threshold as its bias, which
clamps to -1 and 0; a QUANTIZE stores it as the next binary layer reads it. Where the numbers lie on a
grid, the threshold is half a step of the grid below the value that decides, so that roundings of less
decide alike.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from keras_sbn.conversion.comparisons import as_threshold, exact_offset
from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.fused import FusedActivation
from keras_sbn.conversion.geometry import products
from keras_sbn.conversion.layers import thresholds
from keras_sbn.conversion.layers.linear import Linear, identity, per_channel, rounded
from keras_sbn.conversion.plan import LoweringError, Reason
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.conversion.reasons import SUMS
from keras_sbn.conversion.registry import Call, Lowering, lowering_of, one_scale, same
from keras_sbn.conversion.scales import WideScales
from keras_sbn.conversion.targets.tflite import TfliteTarget
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv, Placeholder, Reshape, Sign, Threshold
from keras_sbn.folding.value_ranges import is_binary, is_image

#: How ±1 is stored in a kernel whose sums are scaled, and the largest sum of products.
_WEIGHT, _MOST = 64, 2**28


class MicroTarget(TfliteTarget):
    """Writes a folded model in integer operators: bits as the portable target, numbers in int16."""

    scales: WideScales
    wide_numbers = True
    weight_bits: ClassVar[tuple[int | str, ...]] = (8, 4)
    few_bits_as_dense: ClassVar[bool] = False
    without_integers: ClassVar[str] = (
        "target='micro' has no float32. Take another layer, or target='tflite', which computes it in "
        "float32."
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._exact: set[int] = set()

    def bits_to_float(self, node: Node, x: Tensor) -> Tensor:
        raise LoweringError(
            f"Expected a model whose values integers hold. Received: {node.name!r}, wanted in float32. "
            f"{self.without_integers}"
        )

    def bits_of(self, call: Call) -> int:
        return int(self.settings.weight_bits)

    def _on_bits(self, node: Node, lowering: Lowering) -> bool:
        """As any target; and ±1 that a layer only selects stay int8, as every value is stored alike."""
        selected = lowering.int8 is same and is_binary(node)
        bits = all(self.values.has_bits(source) for source in node.inputs)
        return (selected and bits) or super()._on_bits(node, lowering)

    def reason_of(self, node: Node, op: Any) -> Reason:
        found = super().reason_of(node, op)
        numbers = node.input if isinstance(node.op, Sign | Threshold) else node
        if is_binary(numbers) or is_image(numbers) or isinstance(numbers.op, Placeholder | Reshape):
            return found
        return Reason(f"{found.reason}; {self._how_far_off(numbers)}", found.remedy)

    def write(self, node: Node) -> None:
        super().write(node)
        if isinstance(node.op, Sign | Threshold):
            if id(node.input) not in self._exact:
                self.rounded_signs.append(node.name)
        elif not self._keeps_exact(node):
            return
        self._exact.add(id(node))

    def _keeps_exact(self, node: Node) -> bool:
        """Whether integers hold every value of a node, which are on its grid, or moved or selected."""
        if self.scales.exact(node):
            return True
        if isinstance(node.op, FusedActivation) or not all(id(x) in self._exact for x in node.inputs):
            return False
        rule = lowering_of(node).int8
        if rule is one_scale:
            return len({self.values.number(x).quant for x in node.inputs}) == 1
        return rule is same

    def _how_far_off(self, node: Node) -> str:
        """What int16 makes of a node's values."""
        if self.scales.exact(node):
            return "int16 holds them exactly"
        return f"int16 holds them in steps of {self.scales.of(node).scale:.3g}"

    def compared_input(self, call: Call) -> Tensor:
        """As any target; and in int16 where int8 has no value for what the layer pads with.

        Raises:
            LoweringError: If int16 has none either, in the steps of the input.
        """
        source = call.node.input
        found = self.values.compared(source)
        if not isinstance(call.op, BinaryConv) or call.op.padding == "valid":
            return found
        for x in (found, self.values.number(source)):
            stored = x.params.stored(call.op.pad_values).astype(np.float64)
            # A scale, such as 1/255, is rounded to float32.
            if np.allclose(x.params.scale * (stored - x.params.zero_point), call.op.pad_values, 1e-6, 0):
                return x
        raise LoweringError(
            f"Expected {call.layer!r} to pad with a value that its input can have, a multiple of "
            f"{found.params.scale:.6g}. Received: {call.op.pad_values.tolist()}. "
            "Train it with pad_value=0.0, or convert it to target='tflite'."
        )

    def compares_rounded_sums(self, linear: Linear) -> bool:
        return thresholds.has_one_magnitude(linear.kernel)

    def _comparison(self, call: Call) -> Tensor:
        node, source, op = call.node, call.node.input, as_threshold(call.node.op)
        x = self.values.compared(source)
        offset = np.asarray(exact_offset(node, op), np.float64)
        exact = Threshold(offset, op.direction)
        if per_channel(exact, x.shape[-1]) is None:
            x, exact = self._difference(call, self.values.number(source), exact), as_threshold(Sign())
        return self._compared(call, identity(call.output.shape), exact, x)

    def _difference(self, call: Call, x: Tensor, op: Threshold) -> Tensor:
        """Emits numbers less the threshold of each place, whose signs are left to compare.

        Integers q are compared, ``direction * q >= T``. The difference saturates where int16 ends, which
        keeps its sign.
        """
        quant = x.params
        shape = (1, *x.shape[1:])
        threshold, direction = np.broadcast_arrays(op.threshold, op.direction)
        least = np.clip(np.ceil(threshold / quant.scale), -32767, 32767)
        if (direction < 0).any():
            signs = np.ascontiguousarray(np.broadcast_to(direction, shape).astype(np.int16))
            factor = call.emitter.constant("directions", signs, 1.0)
            output = call.output.also(quant=quant, suffix="directed")
            x = call.emitter.elementwise("MUL", x, factor, output)
        stored = np.broadcast_to(least, shape).astype(np.int16)
        constant = call.emitter.constant("thresholds", np.ascontiguousarray(stored), quant.scale)
        output = call.output.also(quant=quant, suffix="difference")
        return call.emitter.elementwise("SUB", x, constant, output)

    def rounded_convolution(self, call: Call) -> Tensor:
        self.emitter.reasons[call.layer] = Reason(f"{SUMS.reason}; {self._how_far_off(call.node)}", "")
        linear, x = self._linear(call)
        call.output = call.output.also(quant=self.scales.of(call.node), binary=True)
        return rounded(call, linear, self._wide(call, x), largest=_WEIGHT)

    def _wide(self, call: Call, x: Tensor) -> Tensor:
        """Emits -1 and 0, or ±1, in int16, in steps so small that those of a bias are small too."""
        bits = int(np.clip(np.floor(np.log2(_MOST / (products(call.op) * _WEIGHT))), 0, 8))
        quant = QuantParams(2.0**-bits, 0, "int16")
        output = call.output.also(shape=x.shape, quant=quant, suffix="wide_input", binary=False)
        return self.emitter.quantize(x, output)
