from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn


@pytest.fixture
def converted(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return keras_sbn.convert(model), model


def test_is_true_where_nothing_differs(converted, rng):
    result = keras_sbn.verify(*converted, images(rng, (7, 6, 2)))
    assert result
    assert (result.samples, result.differing_decisions, result.first_difference) == (64, 0, None)
    assert str(result).startswith("64 samples: 0 decisions differ")


def test_says_where_the_first_difference_is(converted, rng):
    file, model = converted
    x = images(rng, (7, 6, 2))
    expected = model.predict(x, verbose=0)
    # The same network with its classes in another order decides otherwise on every sample.
    bias = model.get_layer("logits").beta
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.0, 100.0], "float32"))
    result = keras_sbn.verify(file, model, x)
    wrong = np.flatnonzero(expected.argmax(-1) != 2)
    assert not result
    assert result.differing_decisions == len(wrong)
    assert result.first_difference.sample == wrong[0]
    assert f"first difference: sample {wrong[0]}, output 0" in str(result)
    assert 99 < result.largest_difference < 101


def test_a_damaged_file_does_not_pass(converted, rng):
    file, model = converted
    content = bytearray(file.content)
    kernel = keras_sbn.bits.pack(
        keras.ops.convert_to_numpy(keras_sbn.fold(model).get_layer("dense_2").kernel).transpose(
            3, 0, 1, 2
        )
    ).tobytes()
    at = content.index(kernel)
    for i in range(len(kernel)):
        content[at + i] ^= 0xFF if i % 8 < 4 else 0
    result = keras_sbn.verify(replace(file, content=bytes(content)), model, images(rng, (7, 6, 2)))
    assert not result


def test_needs_samples(converted):
    with pytest.raises(ValueError, match="Expected at least one sample"):
        keras_sbn.verify(*converted, np.zeros((0, 7, 6, 2), "float32"))
