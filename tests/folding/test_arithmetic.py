"""A comparison carried back through float32 arithmetic decides as the arithmetic does, for every x."""

import keras
import numpy as np
import pytest
from conftest import randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.arithmetic import Arithmetic, carried_back
from keras_sbn.folding.ops import Affine, Threshold

ops = keras.ops
_ZERO, _ONE = np.zeros(1), np.ones(1)

FUNCTIONS = {
    "sum": lambda c: Arithmetic(lambda x: x + c, Affine(_ZERO, _ONE, c)),
    "difference": lambda c: Arithmetic(lambda x: c - x, Affine(_ZERO, -_ONE, c)),
    "product": lambda c: Arithmetic(lambda x: x * c, Affine(_ZERO, c, _ZERO)),
    "quotient": lambda c: Arithmetic(lambda x: x / c, Affine(_ZERO, np.sign(c), _ZERO, np.abs(c))),
    "negative": lambda c: Arithmetic(np.negative, Affine(_ZERO, -_ONE, _ZERO)),
}


def _neighbours(x):
    x = x.astype(np.float32)
    return [np.nextafter(x, np.float32(side)) for side in (-np.inf, np.inf)] + [x]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("exponent", [-6, -1, 0, 1, 6])
def test_every_decision_is_the_same(name, exponent, rng):
    c = (rng.normal(size=50) * 10.0**exponent).astype(np.float32)
    arithmetic = FUNCTIONS[name](c)
    x = np.concatenate([rng.normal(size=(500, 50)), rng.integers(-300, 300, (500, 50))])
    x = x.astype(np.float32)
    direction = rng.choice([-1, 1], 50).astype(np.int8)
    # Thresholds that some of the values meet.
    threshold = direction * arithmetic.function(x)[rng.integers(0, 1000, 50), range(50)].astype(
        np.float64
    )
    found = carried_back(Threshold(threshold, direction), arithmetic)
    x = np.concatenate([x, _neighbours(found.direction * found.threshold)])
    expected = direction * arithmetic.function(x).astype(np.float64) >= threshold
    np.testing.assert_array_equal(found.direction * x.astype(np.float64) >= found.threshold, expected)


def test_a_decision_that_does_not_depend_on_x_is_infinite():
    zeros = FUNCTIONS["product"](np.zeros(1, np.float32))
    one = np.ones(1, np.int8)
    assert carried_back(Threshold(np.zeros(1), one), zeros).threshold == -np.inf
    assert carried_back(Threshold(np.ones(1), one), zeros).threshold == np.inf
    sums = FUNCTIONS["sum"](np.ones(1, np.float32))
    for always in (np.inf, -np.inf):
        assert carried_back(Threshold(np.full(1, always), one), sums).threshold == always


def _folded_kinds(make, rng, values=17):
    """The operations of a folded model of a sum of so many ±1, arithmetic and a sign."""
    inputs = keras.Input((values,))
    product = layers.SelfBinarizingDense(4)(layers.SelfBinarizingActivation()(inputs))
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(make(product)))
    randomize(model, rng)
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    x = np.sign(rng.normal(size=(256, values))).astype("float32")
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))
    return [type(operation).__name__ for operation in folded.operations]


def test_a_tie_that_rounding_decides_stays(rng):
    # 0.1 * 3 - 0.3 is 0 where each function rounds, and below 0 where only the result does.
    tenth, shift = np.float32(0.1), np.float32(0.3)
    assert np.float32(3) * tenth - shift == 0
    assert 3 * float(tenth) - float(shift) < 0
    assert "Multiply" in _folded_kinds(lambda x: 0.1 * x - 0.3, rng)
    # The sum of an even number of ±1 is never 3.
    assert "Multiply" in _folded_kinds(lambda x: 0.1 * x - 0.3, rng, 16)
    assert "Multiply" not in _folded_kinds(lambda x: 0.1 * x - 0.25, rng)


WRITTEN = {
    "channel": lambda x, c: x * c + c,
    "channel on the left": lambda x, c: ops.subtract(c, ops.multiply(c, x)),
    "numbers": lambda x, c: 0.1 * x - 0.25,
    "number on the left": lambda x, c: 1.1 - x / 3,
    "quotient": lambda x, c: ops.true_divide(x, c) - 0.5,
    "negative": lambda x, c: -(x + 0.7),
    "position": lambda x, c: x - np.arange(36, dtype="float32").reshape(6, 6, 1) / 8,
    "row": lambda x, c: ops.add(np.arange(6, dtype="float32").reshape(6, 1, 1), x) * 0.3,
    "three": lambda x, c: ((x * 0.7) + 0.1) * -1.3,
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("pooled", [False, True], ids=["alone", "pooled"])
def test_arithmetic_between_a_product_and_a_sign_becomes_a_threshold(name, pooled, rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(4, 3, padding="same")(x)
    constant = np.array([0.1, -0.3, 2.5, -1], "float32")
    x = WRITTEN[name](x, constant)
    if pooled:
        x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(x))
    randomize(model, rng)
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    kinds = [type(operation).__name__ for operation in folded.operations]
    allowed = {"InputLayer", "Sign", "BinaryConv2D", "Threshold", "MaxPooling2D"}
    # A comparison with a value for every position stays behind a pool.
    assert set(kinds) <= allowed or (pooled and name in ("position", "row"))
    x = np.sign(rng.normal(size=(64, 6, 6, 3))).astype("float32")
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: 1 / x,
        lambda x: x / np.array([1, 0, 1, 1], "float32"),
        lambda x: x + np.ones((2, 1, 1, 1), "float32"),
        lambda x: x * np.array([1, np.inf, 1, 1], "float32"),
        lambda x: x + x,
        lambda x: x**2,
    ],
)
def test_what_is_no_comparison_stays(make, rng):
    inputs = keras.Input((3, 3, 4))
    product = layers.SelfBinarizingDense(4)(layers.SelfBinarizingActivation()(inputs))
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(make(product)))
    randomize(model, rng)
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    assert "Threshold" not in [type(layer).__name__ for layer in folded.layers]
    x = np.sign(rng.normal(size=(2, 3, 3, 4))).astype("float32")
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_of_real_numbers_one_function_folds_and_two_stay(rng):
    for make, folds in ((lambda x: x - 0.3, True), (lambda x: 0.7 * x - 0.3, False)):
        inputs = keras.Input((5,))
        model = keras.Model(inputs, layers.SelfBinarizingActivation()(make(inputs)))
        keras_sbn.binarize(model)
        folded = keras_sbn.fold(model)
        kinds = [type(operation).__name__ for operation in folded.operations]
        assert ("Threshold" in kinds) == folds
        x = rng.normal(size=(64, 5)).astype("float32")
        for row, value in enumerate((0.3, np.nextafter(np.float32(0.3), np.float32(0)), -0.0)):
            x[row] = value
        np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))
