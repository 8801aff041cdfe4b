"""Transposed convolutions: exact in stock operators, an error that says so for LCE."""

import keras
import numpy as np
import pytest
from conftest import activate, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.interpreter import TfliteInterpreter
from keras_sbn.tflite.reader import read_file


def _model(rng, **options):
    inputs = keras.Input((4, 5, 6))
    x = layers.SelfBinarizingConv2DTranspose(7, 3, binarize_input=True, name="up", **options)(inputs)
    x = activate(x, keras.layers.BatchNormalization)
    x = layers.SelfBinarizingConv2DTranspose(3, 2, strides=2, name="sums")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_sums_and_decisions_are_exact(padding, strides, rng):
    model = _model(rng, padding=padding, strides=strides)
    folded = keras_sbn.fold(model)
    x = images(rng, (4, 5, 6), 16)
    converted = keras_sbn.convert(model, target="tflite")
    expected = folded.predict(x, verbose=0)
    for xnnpack in (True, False):
        (received,) = TfliteInterpreter(converted.content, xnnpack=xnnpack).predict([x])
        np.testing.assert_array_equal(received, expected)
    assert keras_sbn.verify(converted, model, x)
    rows = {row.name: row for row in converted.report.layers}
    assert (rows["up"].kind, rows["up"].operators) == ("binary", ("TRANSPOSE_CONV", "QUANTIZE"))


def test_lce_has_no_kernel_and_falls_back_on_request(rng):
    model = _model(rng, padding="same", strides=2)
    with pytest.raises(ValueError, match=r"'up', BinaryConv2DTranspose\. The way out: target='tflite'"):
        keras_sbn.convert(model)
    x = images(rng, (4, 5, 6), 8)
    converted = keras_sbn.convert(model, allow_float_fallback=True)
    np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))
    (row,) = [row for row in converted.report.layers if row.name == "up"]
    assert row.remedy == "target='tflite' has one"


def test_int8_sums(rng):
    model = _model(rng, padding="same", strides=2)
    x = images(rng, (4, 5, 6), 32)
    converted = keras_sbn.convert(model, target="tflite", activations="int8", representative_data=x)
    operators = read_file(converted.content).operators
    # Sums of 28 products of ±1 fit int8 as they are.
    assert operators[-1].inputs[0].scales == (1.0,)
    np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_float_transposed_convolutions(activations, target, rng):
    inputs = keras.Input((4, 5, 6))
    x = keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Conv2DTranspose(2, 2)(x))
    for weight in model.weights:
        weight.assign(np.abs(rng.normal(size=weight.shape)) / 4 + 0.1)
    x = images(rng, (4, 5, 6), 32)
    converted = keras_sbn.convert(model, target=target, activations=activations, representative_data=x)
    expected = model.predict(x, verbose=0)
    near = 1e-4 if activations == "float32" else 0.03 * np.ptp(expected)
    np.testing.assert_allclose(converted.predict(x), expected, atol=near)


def test_a_dilated_one_is_an_error_that_names_it(rng):
    model = _model(rng, padding="same", dilation_rate=2)
    with pytest.raises(ValueError, match=r"without dilation.*'up' with dilation_rate"):
        keras_sbn.convert(model, target="tflite")


def test_three_dimensions_are_an_error_with_a_way_out(rng):
    inputs = keras.Input((4, 4, 4, 3))
    x = layers.SelfBinarizingConv3D(2, 3, binarize_input=True, name="volume")(inputs)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    for target in ("lce", "tflite"):
        with pytest.raises(ValueError, match=r"'volume', BinaryConv3D\. The way out: a two-dimensional"):
            keras_sbn.convert(model, target=target)
