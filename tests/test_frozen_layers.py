"""Layers with trainable=False stay as they are while others are trained: transfer learning."""

import math

import keras
import numpy as np
import pytest
import small_models
from layer_cases import numpy_of

import keras_sbn
from keras_sbn import layers
from keras_sbn.callbacks import Sharpen
from keras_sbn.schedules import Exponential


def base():
    """A hard feature extractor that was trained."""
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.SelfBinarizingConv2D(8, 3, name="base_conv"),
            layers.BinaryBatchNormalization(name="base_normalize"),
            layers.SelfBinarizingActivation(name="base_sign"),
        ],
        name="base",
    )
    x, _ = small_models.data()
    keras_sbn.reestimate_batch_normalization(network, x)
    keras_sbn.binarize(network)
    return network


def head(name="head"):
    return keras.Sequential(
        [
            keras.layers.Flatten(),
            layers.SelfBinarizingDense(4, name=f"{name}_dense"),
            layers.BinaryBatchNormalization(name=f"{name}_normalize"),
            keras.layers.Softmax(),
        ],
        name=name,
    )


def nested(frozen):
    return keras.Sequential([keras.Input((6, 6, 1)), frozen, head()])


def twice_nested(frozen):
    inner = keras.Sequential([keras.Input((6, 6, 1)), frozen], name="inner")
    return keras.Sequential([keras.Input((6, 6, 1)), inner, head()])


def flat(frozen):
    return keras.Sequential([keras.Input((6, 6, 1)), *frozen.layers, *head().layers])


class Wrapped(keras.layers.Layer):
    """A layer of one's own with the base within."""

    def __init__(self, frozen):
        super().__init__()
        self.frozen = frozen

    def call(self, inputs):
        return self.frozen(inputs)


def wrapped(frozen):
    return keras.Sequential([keras.Input((6, 6, 1)), Wrapped(frozen), head()])


def state(network):
    return [np.array(numpy_of(variable)) for variable in network.variables]


def train(network, *callbacks, epochs=20):
    network.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    x, y = small_models.data()
    network.fit(x, y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0)


class SameInEveryBatch(keras.callbacks.Callback):
    """Compares what a model gives with what it gave before. Put it last."""

    def __init__(self, frozen):
        super().__init__()
        self.frozen, self.x = frozen, small_models.data()[0][:4]
        self.expected, self.batches = numpy_of(frozen(self.x)), 0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.layers  # noqa: B018  (JAX's trainer gives the variables back)
        np.testing.assert_array_equal(numpy_of(self.frozen(self.x)), self.expected)
        self.batches += 1


@pytest.mark.parametrize("build", [nested, twice_nested, flat, wrapped])
def test_a_frozen_base_stays_exactly_as_it_is(build):
    frozen = base()
    frozen.trainable = False
    before, same = state(frozen), SameInEveryBatch(frozen)
    network = build(frozen)
    sharpen = Sharpen()
    train(network, sharpen, same)
    assert same.batches == 120
    for found, expected in zip(state(frozen), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    # The head went its way.
    assert [layer.name for layer in sharpen.report.layers] == ["head_dense"]
    assert sharpen.report.already_binary
    assert keras_sbn.binarize(network).already_binary


def test_single_frozen_layers_stay_and_the_others_are_sharpened():
    network = small_models.model()
    for name in ("first", "normalize_first", "sign_first"):
        network.get_layer(name).trainable = False
    before = [state(network.get_layer(name)) for name in ("first", "normalize_first", "sign_first")]
    sharpen = Sharpen()
    with pytest.warns(
        UserWarning, match=r"Layers \['first', 'sign_first'\] have trainable=False and are soft"
    ):
        train(network, sharpen)
    after = [state(network.get_layer(name)) for name in ("first", "normalize_first", "sign_first")]
    for one, other in zip(after, before, strict=True):
        for found, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert float(numpy_of(network.get_layer("second").kernel_sharpness)) == math.inf
    # Asked for by name, they are made hard.
    keras_sbn.binarize(network)
    assert float(numpy_of(network.get_layer("first").kernel_sharpness)) == math.inf


def test_a_training_loop_of_ones_own_leaves_them_too():
    frozen = base()
    frozen.trainable = False
    network = nested(frozen)
    before = state(frozen)
    for progress in (0.0, 0.5, 0.99):
        keras_sbn.sharpen(network, progress)
    for found, expected in zip(state(frozen), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert network.get_layer("head").get_layer("head_dense").kernel_is_frozen


def test_statistics_of_frozen_layers_are_not_estimated_again():
    frozen = base()
    frozen.trainable = False
    before = state(frozen)
    x, _ = small_models.data()
    assert keras_sbn.reestimate_batch_normalization(nested(frozen), x + 1) == 1
    for found, expected in zip(state(frozen), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    whole = base()
    whole.trainable = False
    assert keras_sbn.reestimate_batch_normalization(whole, x + 1) == 0


def test_then_the_base_is_trained_on_with_the_head():
    frozen = base()
    frozen.trainable = False
    network = nested(frozen)
    train(network, Sharpen(), epochs=2)
    frozen.trainable = True
    record = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.layers  # noqa: B018
            record.append(float(numpy_of(frozen.get_layer("base_conv").kernel_sharpness)))

    train(network, Sharpen(), Record(), epochs=2)
    assert record[0] == 1
    assert record[-1] == math.inf


def test_a_schedule_of_a_frozen_layer_is_an_error():
    frozen = base()
    frozen.trainable = False
    with pytest.raises(ValueError, match=r"name layers that are trained.*Received: \['base_conv'\]"):
        train(nested(frozen), Sharpen(layer_schedules={"base_conv": Exponential()}))
