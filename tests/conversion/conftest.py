"""Every file that these tests run, they run without XNNPACK as well: a delegate can hide faults."""

import numpy as np
import pytest

from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.reader import read_file


def _rounds(content):
    """Whether an operator of the file writes integers of a scale other than 1."""
    return any(
        tensor.dtype in ("int8", "int16") and tensor.scales != (1.0,)
        for operator in read_file(content).operators
        for tensor in operator.outputs
    )


@pytest.fixture(autouse=True)
def _without_the_delegate_too(monkeypatch):
    predict = ConvertedModel.predict

    def both(self, x, dequantize=True, **options):
        outputs = predict(self, x, dequantize, **options)
        if not options:
            others = predict(self, x, dequantize, xnnpack=False)
            pairs = (
                zip(outputs, others, strict=True) if isinstance(outputs, list) else [(outputs, others)]
            )
            # Kernels round halves of a step of int8 in different ways.
            for a, b in pairs:
                size = float(np.abs(a.astype("float64")).max(initial=1.0))
                tolerance = 0.25 * size if _rounds(self.content) else 1e-3
                np.testing.assert_allclose(
                    a.astype("float64"), b.astype("float64"), rtol=1e-3, atol=tolerance
                )
        return outputs

    monkeypatch.setattr(ConvertedModel, "predict", both)
