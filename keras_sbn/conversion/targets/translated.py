"""Lowering to what is no .tflite file, by way of the operators of the Larq Compute Engine.

The file that is written is not for the engine, so the limits of its kernels do not hold.
"""

from __future__ import annotations

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.registry import Call
from keras_sbn.conversion.targets.lce import LceTarget
from keras_sbn.folding.ops import BinaryConv2D, Sign


class TranslatedTarget(LceTarget):
    """Writes a folded model in operators of bits and of float32; a subclass says what they become."""

    has_int8 = False

    def overflows(self, op: BinaryConv2D) -> bool:
        return False

    def compare(self, call: Call, x: Tensor) -> Tensor:
        if isinstance(call.node.op, Sign):
            # x < 0 is false for -0.0.
            return self.to_bits(call.node, x)
        return super().compare(call, x)
