"""Random small networks: the files of both targets decide as the hard model."""

import keras
import numpy as np
import pytest
from conftest import images, randomize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_sbn
from keras_sbn import layers

_SHAPE = (6, 5, 3)


@st.composite
def networks(draw):
    """A list of layers, of which not every one fits every target: convolutions, pools, norms, adds."""
    binary_pads = st.sampled_from([1.0, 1.0, 0.0, -1.0])
    blocks = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1, 3, 32]),
                st.sampled_from([1, 2, 3]),
                st.sampled_from(["same", "valid"]),
                binary_pads,
                st.sampled_from(["batch", "binary", "none"]),
                st.sampled_from(["none", "pool", "residual"]),
            ),
            min_size=1,
            max_size=3,
        )
    )
    return blocks, draw(st.booleans()), draw(st.integers(0, 2**16))


def _build(blocks, dense, seed):
    inputs = x = keras.Input(_SHAPE)
    for filters, window, padding, pad_value, norm, extra in blocks:
        window = min(window, *x.shape[1:3])
        y = layers.SelfBinarizingConv2D(
            filters, window, padding=padding, pad_value=pad_value, binarize_input=True
        )(x)
        if extra == "pool" and min(y.shape[1:3]) > 1:
            y = keras.layers.MaxPooling2D()(y)
        if norm != "none":
            kind = keras.layers.BatchNormalization if norm == "batch" else layers.BinaryBatchNormalization
            y = kind()(y)
        if extra == "residual" and x.shape == y.shape:
            y = keras.layers.Add()([x, y])
        x = y
    if dense:
        x = layers.SelfBinarizingDense(4, binarize_input=True)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    randomize(model, np.random.default_rng(seed))
    for weight in model.weights:
        # Multiples of 1/8 and a variance of 1 keep what a residual connection adds exact.
        if weight.name == "moving_variance":
            weight.assign(np.full(weight.shape, 1.0))
        elif not weight.name.endswith("_sharpness"):
            weight.assign(np.round(8 * keras.ops.convert_to_numpy(weight)) / 8)
    keras_sbn.binarize(model)
    return model


@pytest.mark.tensorflow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(networks())
def test_both_files_decide_as_the_hard_model(network):
    blocks, dense, seed = network
    model = _build(blocks, dense, seed)
    x = images(np.random.default_rng(seed), _SHAPE, 16)
    expected = model.predict_on_batch(x)
    for target in ("lce", "tflite"):
        received = keras_sbn.convert(model, target=target).predict(x)
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-3)
