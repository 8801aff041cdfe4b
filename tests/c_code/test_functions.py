"""Every C function, alone: what it computes is what Keras computes."""

import shutil

import keras
import numpy as np
import operator_cases
import pytest
from c_programs import SANITIZED, Case, compare, run_cases
from conftest import images, randomize

import keras_sbn
from keras_sbn.c_code.source import runtime

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
#: What a sum of real numbers may differ by, a part of its size.
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def cases():
    found = []
    for name, model, x, expected in operator_cases.models():
        converted = keras_sbn.convert(model, "c", allow_float_fallback=True)
        found.append(Case(converted.code(name), [x], expected, TOLERANCE))
    return found


def test_outputs_of_8_bits(rng, tmp_path):
    """Stored as the report says: halves are rounded away from 0."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.layers.Dense(9)(inputs))
    randomize(model, rng)
    x = images(rng, (64,), 16)
    found = []
    for dtype in ("int8", "uint8"):
        converted = keras_sbn.convert(model, "c", representative_data=x, output_type=dtype)
        scale, zero = converted.report.outputs[0].scale, converted.report.outputs[0].zero_point
        steps = model.predict_on_batch(x).astype(np.float64) / scale
        expected = np.clip(np.sign(steps) * np.floor(np.abs(steps) + 0.5) + zero, *LIMITS[dtype])
        found.append(Case(converted.code(dtype), [x], [expected.astype(dtype)]))
    compare(found, run_cases(SANITIZED, found, tmp_path), SANITIZED.name)
    assert "sbn_quantize" in found[0].code.calls


def test_functions_compute_what_keras_computes(cases, tmp_path):
    received = run_cases(SANITIZED, cases, tmp_path)
    assert compare(cases, received, SANITIZED.name) > 0


def test_no_function_is_left_out(cases):
    used = {name for case in cases for name in case.code.calls}
    # That of outputs of 8 bits is tested above.
    assert set(runtime()) - used == {"sbn_quantize"}
