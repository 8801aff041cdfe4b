"""Float layers, operators between tensors and functions of keras.ops, in both targets."""

import keras
import numpy as np
import pytest
from conftest import images, randomize
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

import keras_sbn
from keras_sbn import layers
from keras_sbn.conversion.layers.exact_kernels import power_of_two

TORCH = keras.backend.backend() == "torch"
OLD = keras.__version__.startswith("3.4.")
CASES = {
    "prelu": lambda x: keras.layers.PReLU(shared_axes=[1, 2])(x),
    "leaky_relu": lambda x: keras.layers.LeakyReLU(negative_slope=0.3)(x),
    "elu": lambda x: keras.layers.ELU()(x),
    "elu_activation": lambda x: keras.layers.Activation("elu")(x),
    "permute": lambda x: keras.layers.Permute((3, 1, 2))(x),
    "cropping": lambda x: keras.layers.Cropping2D(((1, 0), (2, 1)))(x),
    "up_sampling": lambda x: keras.layers.UpSampling2D((2, 3))(x),
    "minimum": lambda x: keras.layers.Minimum()([x, keras.layers.ReLU()(x)]),
    "operators": lambda x: (x + x * 0.5) - ops.maximum(x, 0.25) / 3.0,
    "clip_and_round": lambda x: ops.round(ops.clip(x * 3.0, -2.0, 1.0)),
    "split": lambda x: keras.layers.Concatenate()(ops.split(x, 2, axis=-1)[::-1]),
    "split_at": lambda x: ops.split(x, [1, 3], axis=-1)[1],
    "rows_and_columns": lambda x: x[:, 1:-1, ::2],
    "first_row_last_channel": lambda x: x[:, 0, ..., -1],
    # PyTorch has no steps backwards.
    "every_second_backwards": lambda x: ops.flip(x, axis=1)[:, ::2] if TORCH else x[:, ::-2, 2:0:-1],
    "new_axes": lambda x: x[:, None, :, 1:2, None],
    "all_of_it": lambda x: x[:, ...],
    "nothing": lambda x: ops.concatenate([x[:, 3:3], x], axis=1),
    # Keras 3.4 flips one axis at a time on TensorFlow.
    "flip": lambda x: ops.flip(ops.flip(x, axis=1), axis=-1) if OLD else ops.flip(x, axis=(1, -1)),
    "axes": lambda x: ops.swapaxes(ops.moveaxis(x, [-1, 1], [1, 2]), -2, 2),
    "pad": lambda x: ops.pad(x, [[0, 0], [0, 0], [1, 0], [2, 3]]),
    "pad_with_ones": lambda x: ops.pad(x, [[0, 0], [0, 1], [0, 0], [0, 0]], constant_values=1.0),
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "least": lambda x: ops.amax(x, axis=1) - ops.amin(x, axis=-3),
    "largest": lambda x: ops.max(ops.abs(-x), axis=(1, 2)),
    "tiles": lambda x: ops.tile(ops.tile(x, (1, 2, 1, 3)), 2),
    "one_tile": lambda x: ops.tile(x, 1),
    "repeats": lambda x: ops.repeat(ops.repeat(x, 2, axis=1), 3, axis=-1),
    "stacks": lambda x: ops.stack([x, -x, x], axis=2) - ops.stack([x, x, x], axis=-3),
    "rolled": lambda x: ops.roll(ops.roll(x, (1, -6), axis=(1, -1)), 4, axis=2) - ops.roll(x, 7, axis=1),
    "powers": lambda x: x**2 + ops.abs(x) ** 0.5 - ops.power(x, 2.0),
    "variance": lambda x: ops.var(x, axis=(1, -1), keepdims=True) - ops.var(x, axis=1, keepdims=True),
    "whole_variance": lambda x: x - ops.var(x, axis=(1, 2, 3), keepdims=True),
    "concatenate": lambda x: ops.concatenate([x, ops.sigmoid(x)], axis=1),
    "relu_of_sums": lambda x: keras.layers.ReLU()(
        layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)(x)
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_the_file_computes_the_function(name, target, rng):
    inputs = keras.Input((5, 4, 4))
    model = keras.Model(inputs, CASES[name](inputs))
    randomize(model, rng)
    if name == "relu_of_sums":
        keras_sbn.binarize(model)
    x = images(rng, (5, 4, 4), 8)
    found = keras_sbn.convert(model, target=target).predict(x)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(x)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv1D(6, 3, padding="same", strides=2),
        keras.layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu"),
        keras.layers.Conv1D(6, 2, groups=2, use_bias=False),
        keras.layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2),
    ],
)
def test_float_convolutions_over_steps(layer, target, rng):
    """One before a binary layer, with batch normalization, as audio and sensor networks begin."""
    inputs = keras.Input((11, 4))
    x = keras.layers.BatchNormalization()(layer.from_config(layer.get_config())(inputs))
    x = layers.SelfBinarizingConv1D(5, 3, padding="same", binarize_input=True)(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (11, 4), 8)
    converted = keras_sbn.convert(model, target=target)
    np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))
    quantized = keras_sbn.convert(model, target=target, activations="int8", representative_data=x)
    first = next(row for row in quantized.report.layers if row.weights)
    assert first.kind == "int8"


def test_an_operation_without_a_counterpart_is_an_error_that_names_it():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.cumsum(inputs, axis=1))
    with pytest.raises(ValueError, match="Received: Cumsum"):
        keras_sbn.convert(model)


def test_batch_normalization_and_relu_go_into_float_layers(rng):
    inputs = x = keras.Input((8, 8, 3))
    for layer in (
        keras.layers.Conv2D(8, 3, padding="same"),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
    ):
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(layer(x)))
    y = keras.layers.BatchNormalization()(keras.layers.Conv2D(32, 1)(x))
    z = layers.SelfBinarizingConv2D(32, 3, padding="same", binarize_input=True)(y)
    x = keras.layers.Add()([y, z])
    x = keras.layers.BatchNormalization()(keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (8, 8, 3), 8)
    converted = keras_sbn.convert(model)
    operators = [op for row in converted.report.layers for op in row.operators]
    assert not {"MUL", "RELU", "SUB"} & set(operators)
    np.testing.assert_allclose(converted.predict(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_kernel_that_bytes_hold_is_stored_in_bytes(rng):
    blur = np.repeat(np.outer([1, 2, 1], [1, 2, 1])[:, :, None, None] / 16, 64, 2).astype("float32")
    inputs = keras.Input((6, 6, 64))
    layer = keras.layers.DepthwiseConv2D(3, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([blur])
    converted = keras_sbn.convert(model)
    x = images(rng, (6, 6, 64), 4)
    np.testing.assert_array_equal(converted.predict(x), model(x))
    assert converted.report.layers[0].kernel_bytes == blur.size


@given(arrays(np.int8, 8), st.integers(-20, 20))
def test_whole_multiples_of_a_power_of_two_are_found(whole, exponent):
    whole = np.maximum(whole, -127)
    step = power_of_two(whole * np.float32(2.0**exponent))
    if not whole.any():
        assert step is None
        return
    assert step is not None
    assert step >= 2.0**exponent
    assert np.abs(whole * 2.0**exponent / step).max() <= 127
    assert (whole * 2.0**exponent / step % 1 == 0).all()


def test_no_step_for_other_kernels(rng):
    assert power_of_two(rng.normal(size=100).astype("float32")) is None
    assert power_of_two(np.array([128.0, 1.0], "float32")) is None
