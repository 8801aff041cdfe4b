"""The soft sign: values, gradients, precisions, and the compilers it passes through."""

import os

import keras
import layer_cases
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from layer_cases import numpy_of

from keras_sbn import sharpness as sharpness_module
from keras_sbn.sharpness import HARD, sign, soft_sign

X = np.array([-3.0, -1.0, -0.25, -1e-3, -0.0, 0.0, 1e-3, 0.25, 1.0, 3.0], "float32")
SIGNS = np.array([-1, -1, -1, -1, 1, 1, 1, 1, 1, 1], "float32")


def slope(x, sharpness, bound):
    """The derivative by its definition, in float64."""
    nu = sharpness if bound is None else min(sharpness, bound)
    if np.isinf(nu):
        return np.zeros_like(x, "float64")
    return nu / np.cosh(np.minimum(np.abs(nu * x.astype("float64")), 300)) ** 2


def gradient(x, sharpness, bound=None, normalize=False, upstream=1.0, scale=None):
    def function(x):
        values = soft_sign(x, sharpness, bound, normalize, scale)
        return ops.sum(values * ops.convert_to_tensor(upstream))

    return layer_cases.gradients(function, x)[0]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0, 100.0, 1e7])
def test_soft_values_are_tanh(sharpness):
    expected = np.tanh(sharpness * X.astype("float64"))
    np.testing.assert_allclose(numpy_of(soft_sign(X, sharpness)), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hard_values_are_signs(dtype):
    x = ops.cast(X, dtype)
    for values in (soft_sign(x, HARD), sign(x), soft_sign(x, HARD, 1.0)):
        assert keras.backend.standardize_dtype(values.dtype) == dtype
        np.testing.assert_array_equal(numpy_of(ops.cast(values, "float32")), SIGNS)


def test_hard_values_of_extremes_are_signs():
    x = np.array([-np.inf, -3e38, -2e-38, 2e-38, 3e38, np.inf], "float32")
    for normalize in (False, True):
        np.testing.assert_array_equal(
            numpy_of(soft_sign(x, HARD, normalize=normalize)), [-1, -1, -1, 1, 1, 1]
        )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("bound", [None, 1.0])
@pytest.mark.parametrize("sharpness", [2.0, HARD])
def test_the_gradient_is_scaled_and_the_values_are_not(sharpness, bound, normalize):
    expected = numpy_of(soft_sign(X, sharpness, bound, normalize))
    full = gradient(X, sharpness, bound, normalize)
    for scale in (0.0, 0.5):
        found = soft_sign(X, sharpness, bound, normalize, gradient_scale=scale)
        np.testing.assert_array_equal(numpy_of(found), expected)
        scaled = gradient(X, sharpness, bound, normalize, scale=scale)
        np.testing.assert_allclose(scaled, scale * full, rtol=1e-6, atol=1e-7)


#: Without its optimizations, XLA's tanh of a large number is 1 but for a few units of the last place.
ROUNDING = 1e-6 if os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") else 0.0


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0, 100.0, 1e7, HARD])
@pytest.mark.parametrize("bound", [None, 0.7, 1.0, 1e3])
def test_gradient_is_the_derivative_at_the_bounded_sharpness(sharpness, bound):
    expected = slope(X, sharpness, bound)
    error = 1e-5 + ROUNDING * min(sharpness, bound or 1e7, 1e7)
    np.testing.assert_allclose(gradient(X, sharpness, bound), expected, rtol=1e-5, atol=error)


# Subnormal numbers are zeros to TensorFlow and JAX.
@settings(max_examples=50, deadline=None)
@given(
    x=st.lists(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=8),
    sharpness=st.floats(2.0**-10, 2.0**99, width=32) | st.just(HARD),
    bound=st.none() | st.floats(2.0**-10, 2.0**10, width=32),
)
def test_values_and_gradients_are_bounded(x, sharpness, bound):
    x = np.array(x, "float32")
    values, slopes = numpy_of(soft_sign(x, sharpness, bound)), gradient(x, sharpness, bound)
    assert (np.abs(values) <= 1).all()
    assert (values * np.where(x >= 0, 1, -1) >= 0).all()
    assert (slopes >= 0).all()
    largest = 0 if bound is None and np.isinf(sharpness) else min(sharpness, bound or sharpness)
    assert (slopes <= largest * (1 + 1e-6)).all()


@pytest.mark.parametrize("bound", [None, 0.8])
def test_gradient_of_the_normalized_soft_sign(bound):
    rng = np.random.default_rng(0)
    x, upstream, direction = rng.normal(size=(3, 6, 5)) * 0.1
    found = gradient(x.astype("float32"), 2.0, bound, True, upstream.astype("float32"))

    def value(x):
        return np.sum(upstream * layer_cases.soft_sign_numpy(x, bound or 2.0, normalize=True))

    expected = (value(x + 1e-6 * direction) - value(x - 1e-6 * direction)) / 2e-6
    assert np.vdot(found, direction) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sharpness", [1.0, 30.0, 1e7, HARD])
@pytest.mark.parametrize("bound", [None, 1.0])
def test_half_precision(dtype, sharpness, bound):
    tolerance = 2e-3 if dtype == "float16" else 2e-2
    x = numpy_of(ops.cast(ops.cast(X, dtype), "float32"))

    def function(x):
        return ops.sum(ops.cast(soft_sign(ops.cast(x, dtype), sharpness, bound), "float32"))

    values = numpy_of(ops.cast(soft_sign(ops.cast(x, dtype), sharpness, bound), "float32"))
    slopes = layer_cases.gradients(function, x)[0]
    assert np.isfinite(slopes).all()
    largest = min(sharpness, 65504.0) if dtype == "float16" and sharpness != HARD else sharpness
    expected = SIGNS if sharpness == HARD else np.tanh(largest * x)
    np.testing.assert_allclose(values, expected, atol=tolerance)
    if bound is not None:
        np.testing.assert_allclose(slopes, slope(x, sharpness, bound), atol=tolerance)


def test_sharpness_gets_no_gradient_and_may_be_a_variable():
    (to_sharpness,) = layer_cases.gradients(
        lambda nu: ops.sum(soft_sign(X, nu)), np.array(2.0, "float32")
    )
    assert to_sharpness == 0
    variable = keras.Variable(2.0, dtype="float32", trainable=False)
    np.testing.assert_array_equal(numpy_of(soft_sign(X, variable)), numpy_of(soft_sign(X, 2.0)))


def test_gradient_function_as_pytorch_calls_it(monkeypatch):
    # The PyTorch backend of Keras passes the arguments, and the incoming gradient by its name.
    found = {}

    def custom_gradient(function):
        def call(*args):
            outputs, grad = function(*args)
            found["gradients"] = grad(*args, upstream=ops.ones_like(args[0]))
            return outputs

        return call

    monkeypatch.setattr(sharpness_module.ops, "custom_gradient", custom_gradient)
    values = soft_sign(X, 2.0, 1.0)
    np.testing.assert_allclose(numpy_of(values), np.tanh(2 * X), atol=1e-6)
    to_x, to_sharpness = found["gradients"]
    np.testing.assert_allclose(numpy_of(to_x), slope(X, 2.0, 1.0), atol=1e-5)
    assert numpy_of(to_sharpness) == 0


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="transformations of JAX")
def test_transformations_of_jax():
    import jax

    def total(x, nu):
        return soft_sign(x, nu, 1.0, normalize=True).sum()

    x = jax.numpy.asarray(X)
    expected = gradient(X, 3.0, 1.0, True)
    nested = jax.jit(jax.grad(jax.jit(lambda x, nu: jax.jit(lambda z: total(z, nu))(x))))
    np.testing.assert_allclose(nested(x, 3.0), expected, rtol=1e-5, atol=1e-6)
    checkpointed = jax.grad(jax.checkpoint(total))
    np.testing.assert_allclose(checkpointed(x, 3.0), expected, rtol=1e-5, atol=1e-6)
    batched = jax.vmap(jax.grad(total), (0, None))(jax.numpy.stack([x, 2 * x]), 3.0)
    np.testing.assert_allclose(batched[0], expected, rtol=1e-5, atol=1e-6)
    by_sharpness = jax.vmap(soft_sign, (None, 0))(x, jax.numpy.asarray([1.0, HARD]))
    np.testing.assert_array_equal(by_sharpness[1], SIGNS)

    def repeated(x, nu):
        return jax.lax.scan(lambda c, _: (soft_sign(c, nu, 1.0), None), x, None, length=2)[0].sum()

    inner = numpy_of(soft_sign(X, 3.0))
    chained = slope(inner, 3.0, 1.0) * slope(X, 3.0, 1.0)
    np.testing.assert_allclose(jax.jit(jax.grad(repeated))(x, 3.0), chained, rtol=1e-4, atol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compilers of TensorFlow")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_functions_of_tensorflow(jit_compile):
    import tensorflow as tf

    @tf.function(jit_compile=jit_compile)
    def step(x, nu):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = soft_sign(x, nu, 1.0, normalize=True)
            total = tf.reduce_sum(values)
        return values, tape.gradient(total, x)

    for sharpness in (2.0, HARD):  # one trace serves both
        values, slopes = step(tf.constant(X), tf.constant(sharpness))
        np.testing.assert_allclose(values, numpy_of(soft_sign(X, sharpness, 1.0, True)), atol=1e-6)
        np.testing.assert_allclose(slopes, gradient(X, sharpness, 1.0, True), rtol=1e-5, atol=1e-6)
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.tensorflow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="branches of TensorFlow")
@pytest.mark.parametrize("normalize", [False, True])
def test_a_branch_leaves_out_what_is_not_taken_and_changes_no_bit(monkeypatch, normalize, rng):
    import tensorflow as tf

    extremes = [] if normalize else [np.nan, np.inf, 1e-45]
    x = tf.constant(np.concatenate([X, extremes, rng.normal(size=1000)]).astype("float32"))
    found = {}
    for only_cpus in (True, False):
        monkeypatch.setattr(sharpness_module, "_tensorflow_has_only_cpus", lambda only=only_cpus: only)

        @tf.function
        def step(x, nu):
            with tf.GradientTape() as tape:
                tape.watch(x)
                values = soft_sign(x, nu, 1.0, normalize=normalize)
            return values, tape.gradient(values, x)

        kinds = {op.type for op in step.get_concrete_function(x, tf.constant(1.0)).graph.get_operations()}
        assert bool(kinds & {"If", "StatelessIf"}) == only_cpus
        found[only_cpus] = [step(x, tf.constant(nu)) for nu in (0.5, 3.0, 1e7, HARD)]
    for branch, choice in zip(found[True], found[False], strict=True):
        for one, other in zip(branch, choice, strict=True):
            np.testing.assert_array_equal(numpy_of(one).view("int32"), numpy_of(other).view("int32"))


@pytest.mark.tensorflow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports a SavedModel")
def test_exported_model_computes_the_same(tmp_path):
    import tensorflow as tf

    from keras_sbn import layers

    model = keras.Sequential([keras.Input((10,)), layers.SelfBinarizingActivation()])
    model.layers[0].activation_sharpness.assign(HARD)
    model.export(str(tmp_path / "saved"))
    exported = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(exported.serve(X[None]), SIGNS[None])
