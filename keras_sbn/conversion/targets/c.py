"""Lowering to C code: the operators of the Larq Compute Engine, each done by a C function of ours.

The file that is written is not for the engine, whose limits do not hold: `keras_sbn.c_code` makes C of
its operators.
"""

from __future__ import annotations

from typing import ClassVar

from keras_sbn.conversion.converted_c import ConvertedC
from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.registry import Call
from keras_sbn.conversion.targets.lce import LceTarget
from keras_sbn.folding.ops import BinaryConv2D, Sign


class CTarget(LceTarget):
    """Writes a folded model for `keras_sbn.c_code`: bits between binary layers, 32 channels a word."""

    result = ConvertedC
    has_int8: ClassVar[bool] = False
    engine = "the C code"

    def overflows(self, op: BinaryConv2D) -> bool:
        # It sums in int32.
        return False

    def compare(self, call: Call, x: Tensor) -> Tensor:
        if isinstance(call.node.op, Sign):
            # x < 0 is false for -0.0.
            return self.to_bits(call.node, x)
        return super().compare(call, x)
