"""The straight-through reference: its gradients, and equal losses to Larq's from equal weights."""

import importlib.util
from dataclasses import replace

import keras
import numpy as np
import pytest
from accuracy import PRESETS, train, train_in_larq
from accuracy_data import Data
from accuracy_methods import METHODS
from accuracy_networks import build
from straight_through import DERIVATIVES, StraightThroughDense, straight_through

TINY = replace(PRESETS["tiny"][0], epochs=2, batch_size=16)


def expected(derivative, x):
    if derivative == "ste":
        return (np.abs(x) <= 1).astype("float32")
    if derivative == "approx":
        return np.maximum(2 - 2 * np.abs(x), 0)
    beta = 5.0
    z = beta * x
    return beta * (2 - z * np.tanh(z / 2)) / (1 + np.cosh(z))


@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_the_derivative_is_that_of_its_source(derivative, rng):
    x = np.concatenate([rng.normal(size=50), [-1.0, 0.0, 1.0, 3.0]]).astype("float32")
    values = keras.ops.convert_to_numpy(DERIVATIVES[derivative](keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(values, expected(derivative, x), rtol=1e-4, atol=1e-5)


def test_far_values_have_no_derivative():
    x = keras.ops.convert_to_tensor(np.array([-1e30, 1e30], "float32"))
    for derivative in DERIVATIVES.values():
        assert np.all(np.abs(keras.ops.convert_to_numpy(derivative(x))) < 1e-20)


def test_a_step_moves_latents_within_the_clip_and_the_output_is_signs():
    layer = StraightThroughDense(3)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.SGD(100.0), "mse")
    before = np.array(keras.ops.convert_to_numpy(layer.kernel))
    # 9 is no sum of four signs: every output is wrong.
    model.train_on_batch(np.ones((2, 4), "float32"), np.full((2, 3), 9.0, "float32"))
    after = keras.ops.convert_to_numpy(layer.kernel)
    assert np.any(after != before)
    assert np.abs(after).max() <= 1
    output = keras.ops.convert_to_numpy(straight_through(np.array([-0.5, -0.0, 2.0], "float32"), "ste"))
    assert output.tolist() == [-1, 1, 1]


@pytest.mark.tensorflow
@pytest.mark.skipif(
    any(importlib.util.find_spec(m) is None for m in ("larq", "tf_keras")),
    reason="needs larq and tf-keras",
)
@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_losses_equal_larqs_from_equal_weights(derivative, rng):
    x = rng.integers(-128, 128, (64, 8, 8, 1)).astype("float32") / 128
    y = rng.integers(0, 10, 64)
    data = Data((x, y), (x, y), (x, y))
    method = METHODS[derivative]
    model = build("digits", method.kit(), data.shape)
    weights = model.get_weights()
    theirs = train_in_larq(TINY, METHODS[f"larq-{derivative}"], 1e-3, 0, data, weights)
    losses = train(model, TINY, method, 1e-3, 0, data).losses
    np.testing.assert_allclose(losses, theirs["loss"], rtol=2e-3)
    assert losses[1] != losses[0]
