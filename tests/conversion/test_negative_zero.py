"""-0.0 packs as -1 on 64-bit ARM, so a zero is added before a sign that could read it, and nowhere else.

On x86 the engine reads -0.0 as +0.0: what the file computes cannot show it there, its operators do.
"""

import keras
import numpy as np
import pytest
from conftest import images, randomize, run_everywhere

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.reader import read_file

K = keras.layers


def _accumulators(x):
    """Sums of ±1, behind a sign of values that are never -0.0."""
    return layers.SelfBinarizingConv2D(4, 1, binarize_input=True)(K.Conv2D(4, 1)(x))


CASES = {
    "input": (lambda x: x, True),
    "pool of the input": (lambda x: K.MaxPooling2D()(x), True),
    "cropped input": (lambda x: K.Cropping2D(1)(x), True),
    "relu": (lambda x: K.ReLU()(x), True),
    "sum of inputs": (lambda x: K.Add()([x, -1.0 * x]), True),
    "product": (lambda x: K.Multiply()([x, x]), True),
    "convolution": (lambda x: K.Conv2D(4, 1)(x), False),
    "convolution with relu": (lambda x: K.Conv2D(4, 1, activation="relu")(x), False),
    "convolution with tanh": (lambda x: K.Conv2D(4, 1, activation="tanh")(x), True),
    "pool of a convolution": (lambda x: K.MaxPooling2D()(K.Conv2D(4, 1)(x)), False),
    "sum with a convolution": (lambda x: K.Add()([x, K.Conv2D(3, 1)(x)]), False),
    "joined with the input": (lambda x: K.Concatenate()([x, K.Conv2D(4, 1)(x)]), True),
    "joined convolutions": (lambda x: K.Concatenate()([K.Conv2D(2, 1)(x), K.Conv2D(4, 1)(x)]), False),
    "sum with accumulators": (
        lambda x: K.Add()([_accumulators(x), K.Conv2D(4, 1, use_bias=False)(x)]),
        False,
    ),
    "permuted convolution": (lambda x: K.Permute((2, 1, 3))(K.Conv2D(4, 1)(x)), False),
}


def _adds_zero(content):
    """Whether an LceQuantize reads a sum with the number 0."""
    made_by = {id(tensor): op for op in read_file(content).operators for tensor in op.outputs}
    for op in made_by.values():
        maker = made_by.get(id(op.inputs[0])) if op.name == "LceQuantize" else None
        if maker is not None and maker.name == "ADD":
            constant = maker.inputs[1].values()
            if constant is not None and constant.size == 1 and not constant.any():
                return True
    return False


@pytest.mark.parametrize("case", CASES)
def test_a_zero_is_added_where_a_value_can_be_negative_zero(case, rng):
    make, wanted = CASES[case]
    inputs = keras.Input((6, 6, 3))
    # A sum of its own reads the value too: the sign of the value itself is taken.
    value = make(inputs)
    sign = layers.SelfBinarizingActivation()(value)
    model = keras.Model(inputs, [sign, K.Flatten()(value)])
    randomize(model, rng)
    keras_sbn.binarize(model)
    converted = keras_sbn.convert(model, "lce")
    assert _adds_zero(converted.content) == wanted
    x = images(rng, (6, 6, 3), 4)
    received = run_everywhere(converted, x, 1e-3)[0]
    np.testing.assert_array_equal(received, model.predict(x, verbose=0)[0])


def test_a_convolution_whose_bias_is_negative_zero(rng):
    inputs = keras.Input((6, 6, 3))
    conv = K.Conv2D(4, 1)
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(conv(inputs)))
    randomize(model, rng)
    conv.bias.assign(np.array([1.0, -0.0, 2.0, 3.0]))
    keras_sbn.binarize(model)
    assert _adds_zero(keras_sbn.convert(model, "lce").content)


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("pool", [False, True])
def test_a_comparison_that_is_above_zero_alone(target, pool, rng):
    """A ReLU gives 0 often, where a normalization of negative gamma and no offset has its tie."""
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(4, 3, activation="relu", use_bias=False)(inputs)
    x = K.MaxPooling2D()(x) if pool else x
    normalization = K.BatchNormalization()
    sign = layers.SelfBinarizingActivation()(normalization(x))
    model = keras.Model(inputs, layers.SelfBinarizingDense(5)(K.Flatten()(sign)))
    normalization.gamma.assign([-1.0, 1.0, -2.0, 0.5])
    keras_sbn.binarize(model)
    x = images(rng, (6, 6, 3), 8)
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(keras_sbn.fold(model).predict(x, verbose=0), expected)
    received = run_everywhere(keras_sbn.convert(model, target), x, 1e-3)
    np.testing.assert_array_equal(received, expected)
