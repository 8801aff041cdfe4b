"""Rows and columns that no pool reads are not in the file, and nothing else changes."""

import keras
import numpy as np
import pytest
from conftest import first_differing_layer, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.reader import read_file

K = keras.layers
SHAPE = (7, 9, 32)


def network(conv, pool, also_read=False):
    """A sign, a convolution with batch normalization and sign, a pool, and a second convolution."""
    inputs = keras.Input(SHAPE)
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(33, name="conv", **conv)(x)
    x = layers.SelfBinarizingActivation(name="conv_sign")(K.BatchNormalization()(x))
    y = layers.SelfBinarizingConv2D(3, 1)(pool(x))
    outputs = [y, layers.SelfBinarizingConv2D(2, 1)(x)] if also_read else y
    model = keras.Model(inputs, outputs)
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    return model


def convolution_shape(converted):
    """Rows and columns of what the first convolution of the file writes."""
    operators = read_file(converted.content).operators
    first = next(op for op in operators if op.name in ("LceBconv2d", "CONV_2D"))
    return first.outputs[0].shape[1:3]


def assert_equal_to_keras(converted, model):
    x = images(np.random.default_rng(1), SHAPE, 8)
    expected = model.predict(x, verbose=0)
    received = converted.predict(x)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(received), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first_differing_layer(converted.content, converted.target, model, [x]) is None


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize(
    ("conv", "pool", "read"),
    [
        ({"kernel_size": 3, "padding": "same"}, K.MaxPooling2D(2), (6, 8)),
        ({"kernel_size": 3, "padding": "same"}, K.MaxPooling2D(3, 2), (7, 9)),
        ({"kernel_size": 3, "padding": "same"}, K.MaxPooling2D(4), (4, 8)),
        ({"kernel_size": 3, "padding": "same", "pad_value": -1.0}, K.MaxPooling2D(2), (6, 8)),
        ({"kernel_size": 3, "padding": "valid"}, K.MaxPooling2D(2), (4, 6)),
        ({"kernel_size": 3, "padding": "valid"}, K.MaxPooling2D((3, 2)), (3, 6)),
        ({"kernel_size": 1}, K.MaxPooling2D(2), (6, 8)),
        ({"kernel_size": (2, 5), "padding": "same"}, K.MaxPooling2D(2), (6, 8)),
        ({"kernel_size": 3, "padding": "same", "strides": 2}, K.MaxPooling2D(3), (3, 3)),
        ({"kernel_size": 3, "padding": "valid", "strides": 2}, K.MaxPooling2D(2), (2, 4)),
        ({"kernel_size": 1, "strides": 2}, K.MaxPooling2D(2), (4, 4)),
        ({"kernel_size": 3, "padding": "same", "dilation_rate": 2}, K.MaxPooling2D(2), (6, 8)),
    ],
)
def test_the_convolution_gives_what_the_pool_reads(conv, pool, read, target):
    model = network(conv, pool)
    converted = keras_sbn.convert(model, target=target)
    assert convolution_shape(converted) == read
    assert_equal_to_keras(converted, model)


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_average_pools_of_sums_count_as_well(target):
    inputs = keras.Input(SHAPE)
    x = layers.SelfBinarizingActivation()(inputs)
    x = K.AveragePooling2D(2)(layers.SelfBinarizingConv2D(4, 3, padding="same")(x))
    model = keras.Model(inputs, x)
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    converted = keras_sbn.convert(model, target=target)
    assert convolution_shape(converted) == (6, 8)
    assert_equal_to_keras(converted, model)


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_a_map_that_something_else_reads_is_whole(target):
    model = network({"kernel_size": 3, "padding": "same"}, K.MaxPooling2D(2), also_read=True)
    converted = keras_sbn.convert(model, target=target)
    assert convolution_shape(converted) == (7, 9)
    assert_equal_to_keras(converted, model)


@pytest.mark.parametrize(("target", "read"), [("lce", (7, 9)), ("tflite", (6, 8))])
def test_a_border_of_zero_is_left_to_the_engine(target, read):
    conv = {"kernel_size": 3, "padding": "same", "pad_value": 0.0}
    model = network(conv, K.MaxPooling2D(2))
    converted = keras_sbn.convert(model, target=target)
    assert convolution_shape(converted) == read
    assert_equal_to_keras(converted, model)


def test_the_report_counts_what_is_computed():
    def macs(pool):
        model = network({"kernel_size": 3, "padding": "same"}, pool)
        return keras_sbn.convert(model, target="lce").report.binary_macs

    per_position = 9 * 32 * 33
    # The second convolution reads 3 x 4 or 4 x 5 positions.
    assert macs(K.MaxPooling2D(2)) == 6 * 8 * per_position + 3 * 4 * 33 * 3
    assert macs(K.MaxPooling2D(2, padding="same")) == 7 * 9 * per_position + 4 * 5 * 33 * 3
