"""Activations that are layers: whatever layer calls them, they fold and convert as any other."""

import keras
import numpy as np
import pytest
from conftest import images, run_everywhere

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.computation import activation_layer

K = keras.layers
UNIFORM = keras.initializers.RandomUniform(-1, 1)

CALLERS = {
    "Conv1D": lambda a: K.Conv1D(4, 3, activation=a),
    "Conv2D": lambda a: K.Conv2D(4, 3, padding="same", use_bias=False, activation=a),
    "Conv2DTranspose": lambda a: K.Conv2DTranspose(4, 3, activation=a),
    "DepthwiseConv2D": lambda a: K.DepthwiseConv2D(3, activation=a),
    "Dense": lambda a: K.Dense(4, activation=a),
    "Activation": lambda a: K.Activation(a),
    "SelfBinarizingConv2D": lambda a: layers.SelfBinarizingConv2D(4, 3, activation=a),
    "SelfBinarizingDense": lambda a: layers.SelfBinarizingDense(4, activation=a),
}
ACTIVATIONS = {
    "sign": layers.SelfBinarizingActivation,
    "PReLU": lambda: K.PReLU(alpha_initializer=UNIFORM),
    "BatchNormalization": lambda: K.BatchNormalization(beta_initializer=UNIFORM),
    "LeakyReLU": lambda: K.LeakyReLU(),
    "in an Activation": lambda: K.Activation(K.PReLU(alpha_initializer=UNIFORM)),
    "model": lambda: keras.Sequential([K.BatchNormalization(beta_initializer=UNIFORM), K.ReLU()]),
    "sign in a model": lambda: keras.Sequential(
        [K.BatchNormalization(), layers.SelfBinarizingActivation()]
    ),
}


def network(caller, activation, behind=None):
    """Signs, a layer with its activation, and a layer behind; hard, and called once."""
    shape = (6, 4) if caller == "Conv1D" else (6, 6, 4)
    inputs = keras.Input(shape)
    x = layers.SelfBinarizingActivation()(inputs)
    x = CALLERS[caller](activation)(x)
    model = keras.Model(inputs, x if behind is None else behind(x))
    model(np.zeros((1, *shape), "float32"))
    keras_sbn.binarize(model)
    return model, shape


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("caller", CALLERS)
def test_it_is_a_layer_of_the_folded_model_and_of_the_file(caller, activation, rng):
    keras.utils.set_random_seed(2)
    model, shape = network(caller, ACTIVATIONS[activation](), K.Dense(3))
    x = images(rng, shape, 8)
    expected = model.predict(x, verbose=0)
    folded = keras_sbn.fold(model)
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, rtol=1e-6, atol=1e-6)
    assert not any(activation_layer(layer) for layer in folded._flatten_layers())
    found = run_everywhere(keras_sbn.convert(folded, "tflite"), x, tolerance=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("caller", ["Conv2D", "Activation", "SelfBinarizingConv2D"])
def test_a_sign_that_a_layer_calls_makes_the_next_layer_binary(caller, rng):
    activation = layers.SelfBinarizingActivation()
    model, shape = network(caller, activation, layers.SelfBinarizingConv2D(5, 3, name="next"))
    x = images(rng, shape, 8)
    expected = model.predict(x, verbose=0)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(model, target)
        np.testing.assert_array_equal(run_everywhere(converted, x), expected)
        assert converted.report.layers[-1].kind == "binary"
    assert keras_sbn.verify(keras_sbn.convert(model, "tflite"), model, x).differing_decisions == 0


def test_a_batch_normalization_before_such_a_sign_becomes_its_threshold(rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(4, 3, binarize_input=True)(inputs)
    x = K.BatchNormalization(beta_initializer=UNIFORM)(x)
    model = keras.Model(inputs, K.Activation(layers.SelfBinarizingActivation())(x))
    model(np.zeros((1, 6, 6, 4), "float32"))
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert kinds == ["InputLayer", "Sign", "BinaryConv2D", "Threshold"]
    x = images(rng, (6, 6, 4))
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_layer_that_is_called_twice_stays_one(rng):
    inputs = keras.Input((6, 6, 4))
    shared = K.Conv2D(4, 3, padding="same", activation=K.PReLU(alpha_initializer=UNIFORM))
    model = keras.Model(inputs, shared(shared(inputs)))
    x = images(rng, (6, 6, 4), 8)
    expected = model.predict(x, verbose=0)
    folded = keras_sbn.fold(model)
    assert folded.count_params() == model.count_params()
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, rtol=1e-6, atol=1e-6)


def test_names_stay_with_the_kernels(rng):
    """`float_layers` names a layer of the model, though its activation is one of its own."""
    inputs = keras.Input((6, 6, 4))
    x = K.Conv2D(4, 3, activation=K.LeakyReLU(), name="first")(inputs)
    model = keras.Model(inputs, K.Conv2D(4, 3, activation=K.LeakyReLU(), name="second")(x))
    x = images(rng, (6, 6, 4), 64)
    options = {"activations": "int8", "representative_data": x}
    converted = keras_sbn.convert(model, "tflite", float_layers=["second"], **options)
    kinds = {row.name: row.kind for row in converted.report.layers if row.weights}
    assert kinds == {"first": "int8", "second": "float"}


class Shifted(layers.SelfBinarizingActivation):
    def call(self, inputs):
        return super().call(inputs - 1.0)


@keras.saving.register_keras_serializable("test_activation_layers")
class Lowered(K.PReLU):
    def call(self, inputs):
        return super().call(inputs) - 1.0


@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_one_of_ones_own_stays_and_the_file_names_its_layer(activations, rng):
    inputs = keras.Input((6, 6, 4))
    activation = Lowered(alpha_initializer=UNIFORM)
    model = keras.Model(inputs, K.Conv2D(4, 3, activation=activation, name="head")(inputs))
    x = images(rng, (6, 6, 4), 8)
    expected = model.predict(x, verbose=0)
    folded = keras_sbn.fold(model)
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, rtol=1e-6, atol=1e-6)
    data = x if activations == "int8" else None
    with pytest.raises(ValueError, match=r"Received: .*'head'"):
        keras_sbn.convert(model, "tflite", activations=activations, representative_data=data)


@pytest.mark.parametrize("caller", ["Conv2D", "Activation", "SelfBinarizingConv2D"])
def test_one_whose_arithmetic_is_not_known_is_refused_by_name(caller):
    model, _ = network(caller, Shifted(name="shifted"))
    with pytest.raises(ValueError, match="Expected layer 'shifted' to compute what"):
        keras_sbn.fold(model)
    inside = K.Activation(K.Lambda(lambda x: 2 * x, name="twice"))
    model, _ = network(caller, inside)
    with pytest.raises(ValueError, match="Lambda layer 'twice'"):
        keras_sbn.fold(model)


def test_a_soft_one_is_named():
    inputs = keras.Input((6, 6, 4))
    sign = layers.SelfBinarizingActivation(name="soft_sign")
    model = keras.Model(inputs, K.Conv2D(4, 3, activation=sign)(inputs))
    model(np.zeros((1, 6, 6, 4), "float32"))
    with pytest.raises(ValueError, match="soft_sign: sharpness 1"):
        keras_sbn.fold(model)


def test_the_activation_of_a_recurrent_layer_is_not_its_output():
    assert activation_layer(K.SimpleRNN(4, activation=K.LeakyReLU())) is None
    assert activation_layer(K.Dense(4, activation="relu")) is None
