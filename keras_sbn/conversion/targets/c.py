"""Lowering to C code: a C function an operator, of `keras_sbn.c_code`."""

from __future__ import annotations

from keras_sbn.conversion.converted_c import ConvertedC
from keras_sbn.conversion.targets.translated import TranslatedTarget


class CTarget(TranslatedTarget):
    """Writes a folded model as C code: 32 channels of bits in a word."""

    result = ConvertedC
    engine = "the C code"
