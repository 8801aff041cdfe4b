"""Lowering to ONNX: nodes for an operator, of `keras_sbn.onnx_model`."""

from __future__ import annotations

from keras_sbn.conversion.converted_onnx import ConvertedOnnx
from keras_sbn.conversion.targets.translated import TranslatedTarget


class OnnxTarget(TranslatedTarget):
    """Writes a folded model as an ONNX model: ±1 in float32."""

    result = ConvertedOnnx
    engine = "the ONNX model"
