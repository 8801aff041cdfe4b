"""Constants that Keras adds along another axis than NumPy does are refused, and the remedy is exact."""

import keras
import numpy as np
import pytest
from conftest import images, run_everywhere

import keras_sbn

ops = keras.ops

SHAPES = [
    ((4, 3, 4), (4, 1, 1)),
    ((5, 5, 2), (5, 1)),
    ((5, 5, 2), (5, 1, 1)),
    ((3, 4, 4), (1, 4, 1)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), (1, 1, 4)),
    ((6, 4), (6, 1)),
    ((4, 4), (4, 1)),
    ((4, 4), (1, 4, 1)),
    ((4, 3, 4), (1, 1, 1, 4)),
    ((1, 3, 4), (4, 1, 1)),
    ((1, 3, 2), (4, 1, 1)),
]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("comes_first", [False, True], ids=["second", "first"])
def test_a_sum_is_equal_or_refused(shape, size, comes_first, rng):
    inputs = keras.Input(shape)
    constant = np.arange(1, np.prod(size) + 1).reshape(size).astype("float32")
    outputs = ops.add(constant, inputs) if comes_first else ops.add(inputs, constant)
    model = keras.Model(inputs, outputs)
    x = images(rng, shape, 5)
    expected = model.predict(x, verbose=0)
    folded = keras_sbn.fold(model)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), expected)
    if not np.array_equal(expected, x + constant):
        assert not comes_first
        assert keras.backend.backend() == "tensorflow"
        with pytest.raises(
            ValueError, match=r"Add 'add\w*'.*along another axis.*ops\.add\(constant, x\)"
        ):
            keras_sbn.convert(folded, target="tflite")
        return
    converted = keras_sbn.convert(folded, target="tflite")
    np.testing.assert_array_equal(run_everywhere(converted, x), expected)


def test_a_sum_before_a_sign_is_decided_as_keras_does(rng):
    for shape, size in SHAPES:
        inputs = keras.Input(shape)
        constant = rng.integers(-8, 9, size).astype("float32")
        outputs = keras_sbn.layers.SelfBinarizingActivation()(ops.add(inputs, constant))
        model = keras.Model(inputs, outputs)
        keras_sbn.binarize(model)
        x = images(rng, shape, 5) * 4
        folded = keras_sbn.fold(model)
        np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))
