"""Which decisions of the hard model are looked for in the file, tried here in place of on ARM."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.interpreter import TfliteInterpreter

pytest.importorskip("tensorflow")
sys.path.insert(0, str(Path(__file__).parent))
try:
    import cases
finally:
    sys.path.pop(0)


def _sign_after_an_overlapping_pool():
    """Where gamma is negative the fold negates the channel before the pool: no tensor holds this sign."""
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingConv2D(32, 3, name="first")(inputs)
    x = layers.SelfBinarizingActivation(name="kept")(layers.BinaryBatchNormalization()(x))
    x = layers.SelfBinarizingConv2D(32, 3, padding="same", name="second")(x)
    x = keras.layers.MaxPooling2D(2, strides=1)(x)
    x = layers.SelfBinarizingActivation(name="negated")(keras.layers.BatchNormalization()(x))
    x = layers.SelfBinarizingConv2D(3, 3, name="third")(x)
    return keras.Model(inputs, keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def test_a_sign_that_no_tensor_holds_is_not_looked_for(rng):
    model = _sign_after_an_overlapping_pool()
    randomize(model, rng)
    keras_sbn.binarize(model)
    _, trace = keras_sbn.fold(model, input_scaling=(1 / 128, -1.0), trace=True)
    assert set(trace.signs) == {"kept"}
    case = cases._case("pool", model, rng.integers(0, 256, (4, 6, 6, 3)).astype("uint8"))
    assert list(case.signs) == [trace.signs["kept"]]
    engine = TfliteInterpreter(case.with_decisions())
    outputs, *found = engine.predict([case.inputs], dequantize=False)
    np.testing.assert_allclose(outputs, case.outputs, rtol=1e-5, atol=1e-5)
    for (name, wanted), stored in zip(case.signs.items(), found, strict=True):
        np.testing.assert_array_equal((stored == 127).reshape(wanted.shape), wanted, err_msg=name)
