"""Lowering to what is no .tflite file, by way of the operators of the Larq Compute Engine.

The file that is written is not for the engine, so the limits of its kernels do not hold.
"""

from __future__ import annotations

from keras_sbn.conversion.targets.lce import LceTarget
from keras_sbn.folding.ops import BinaryConv2D


class TranslatedTarget(LceTarget):
    """Writes a folded model in operators of bits and of float32; a subclass says what they become."""

    has_int8 = False
    # x < 0 is false for -0.0.
    reads_sign_bit = False

    def overflows(self, op: BinaryConv2D) -> bool:
        return False
