"""Padding with a value inside a convolution against explicit padding in NumPy."""

import keras
import layer_cases
import numpy as np
import pytest
from layer_cases import numpy_of

from keras_sbn.convolution import convolve, output_sizes

RANKS = {1: (9,), 2: (6, 7), 3: (4, 5, 3)}


def explicit(x, kernel, pad_value, padding, strides, dilation, groups=1):
    return layer_cases.convolve_numpy(x, kernel, strides, padding, pad_value, dilation, groups)


@pytest.mark.parametrize(
    ("rank", "padding"),
    [(1, "valid"), (1, "same"), (1, "causal"), (2, "valid"), (2, "same"), (3, "valid"), (3, "same")],
)
@pytest.mark.parametrize("pad_value", [-1.0, 0.0, 0.5])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_equals_explicit_padding(rank, pad_value, padding, strides, dilation):
    rng = np.random.default_rng(rank)
    x = rng.normal(size=(2, *RANKS[rank], 3)).astype("float32")
    kernel = rng.normal(size=(*(2, 3, 1)[:rank], 3, 4)).astype("float32")
    options = {"strides": (strides,) * rank, "dilation_rate": (dilation,) * rank, "padding": padding}
    outputs = convolve(x, kernel, pad_value=pad_value, data_format="channels_last", **options)
    expected = explicit(
        x.astype("float64"), kernel.astype("float64"), pad_value, padding,
        options["strides"], options["dilation_rate"],
    )  # fmt: skip
    np.testing.assert_allclose(numpy_of(outputs), expected, rtol=1e-5, atol=1e-5)
    sizes = output_sizes(RANKS[rank], kernel.shape[:-2], options["strides"], padding, (dilation,) * rank)
    assert sizes == expected.shape[1:-1]


@pytest.mark.parametrize("pad_value", [-1, 0, 1, 3])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
def test_is_exact_on_integers(pad_value, depthwise, strides):
    rng = np.random.default_rng(0)
    x = rng.choice([-1, 1], size=(2, 7, 8, 16))
    kernel = rng.choice([-1, 1], size=(3, 3, 16, 5))
    outputs = convolve(
        x.astype("float32"),
        kernel.astype("float32"),
        strides=(strides, strides),
        padding="same",
        pad_value=float(pad_value),
        dilation_rate=(1, 1),
        data_format="channels_last",
        depthwise=depthwise,
    )
    if depthwise:
        kernel = kernel.reshape(3, 3, 1, 80)
    expected = explicit(x, kernel, pad_value, "same", (strides,) * 2, (1, 1), 16 if depthwise else 1)
    np.testing.assert_array_equal(numpy_of(outputs), expected)


def test_sizes_that_are_not_known_at_trace_time():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX traces known sizes only")
    inputs = keras.Input((None, None, 2))
    kernel = np.ones((3, 3, 2, 4), "float32")
    options = {"strides": (2, 2), "dilation_rate": (1, 1), "padding": "same", "pad_value": 1.0}
    convolution = keras.layers.Lambda(
        lambda x: convolve(x, kernel, data_format="channels_last", **options),
        output_shape=(None, None, 4),
    )
    model = keras.Model(inputs, convolution(inputs))
    for sizes in ((5, 6), (8, 7)):
        x = np.random.default_rng(0).normal(size=(1, *sizes, 2)).astype("float32")
        expected = explicit(x, kernel, 1.0, "same", (2, 2), (1, 1))
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)


def test_window_larger_than_the_input():
    with pytest.raises(ValueError, match=r"Expected an input at least as large.*Received: .*\(3,\)"):
        output_sizes((2,), (3,), (1,), "valid", (1,))
    assert output_sizes((None, 2), (3, 3), (1, 2), "same", (1, 1)) == (None, 1)
