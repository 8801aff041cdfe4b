"""Convolutions of border 0 in the Larq Compute Engine, exact on maps of every size."""

import keras
import numpy as np
import pytest
from conftest import images, randomize

import keras_sbn
from keras_sbn import layers


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (2, 6), (3, 3), (5, 4)])
@pytest.mark.parametrize("options", [{}, {"strides": 2}, {"dilation_rate": 2}])
def test_sums_and_decisions_on_maps_of_every_size(size, options, rng):
    inputs = x = keras.Input((*size, 32))
    x = layers.SelfBinarizingActivation()(x)
    sums = layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=0.0, **options)(x)
    x = keras.layers.BatchNormalization()(sums)
    x = layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=0.0, binarize_input=True)(x)
    decided = layers.SelfBinarizingActivation()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, [sums, decided])
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (*size, 32), 16)
    for found, expected in zip(keras_sbn.convert(model).predict(x), model(x), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("target", ["lce", "c"])
@pytest.mark.parametrize(
    ("size", "window", "stride", "pool"),
    # Rows are padded and columns left over, or the other way round, or a pool reads less of the map.
    [((7, 6), (3, 2), 3, None), ((6, 7), (2, 3), 3, None), ((7, 6), (3, 1), 2, 2)],
)
def test_padding_on_one_axis_alone(target, size, window, stride, pool, rng):
    inputs = keras.Input((*size, 4))
    x = layers.SelfBinarizingActivation()(inputs)
    conv = layers.SelfBinarizingConv2D(4, window, strides=stride, padding="same", pad_value=0.0)
    sums = conv(x)
    decided = sums if pool is None else keras.layers.MaxPooling2D(pool)(sums)
    decided = layers.SelfBinarizingActivation()(keras.layers.BatchNormalization()(decided))
    model = keras.Model(inputs, decided if pool else [sums, decided])
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (*size, 4), 16)
    found = keras_sbn.convert(model, target).predict(x)
    expected = [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(model(x))]
    for one, other in zip(keras.tree.flatten(found), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_threshold_is_the_bias_of_the_convolution(rng):
    inputs = keras.Input((6, 6, 32))
    x = layers.SelfBinarizingConv2D(32, 3, padding="same", pad_value=0.0, binarize_input=True)(inputs)
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(keras.layers.BatchNormalization()(x)))
    randomize(model, rng)
    keras_sbn.binarize(model)
    operators = [op for row in keras_sbn.convert(model).report.layers for op in row.operators]
    assert operators.count("LceBconv2d") == 1
    assert "SUB" not in operators
