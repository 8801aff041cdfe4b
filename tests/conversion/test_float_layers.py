"""Files of int8 in which some layers stay float32."""

import keras
import numpy as np
import pytest
from conftest import images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.reader import read_file

_TARGETS = ("lce", "tflite")
_KERNELS = ("stem", "depthwise", "wide", "steps", "up", "hidden", "logits")


def _network():
    """Float layers of every kind that has a kernel, with what is fused into them, and two binary ones."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(x)
    y = layers.SelfBinarizingConv2D(8, 3, padding="same", binarize_input=True, name="binary")(x)
    x = keras.layers.Add()([keras.layers.BatchNormalization(name="norm")(y), x])
    x = keras.layers.Conv2D(32, 1, activation="tanh", name="wide")(x)
    x = keras.layers.Reshape((36, 32))(x)
    x = keras.layers.Conv1D(8, 3, padding="causal", activation=keras.layers.LeakyReLU(), name="steps")(x)
    x = keras.layers.Reshape((6, 6, 8))(x)
    x = keras.layers.Conv2DTranspose(8, 2, strides=2, name="up")(x)
    x = keras.layers.Dense(12, activation="relu", name="hidden")(keras.layers.GlobalAveragePooling2D()(x))
    x = layers.SelfBinarizingDense(32, binarize_input=True, name="binary_dense")(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="logits")(keras.layers.ReLU()(x)))


def _model(rng):
    model = _network()
    randomize(model, rng)
    for name in _KERNELS:
        kernel = model.get_layer(name).kernel
        kernel.assign(keras.ops.convert_to_numpy(kernel) / np.sqrt(np.prod(kernel.shape[:-1])))
    keras_sbn.binarize(model)
    return model


def _float_weights(converted):
    """Number of weights in float32 kernels of linear layers."""
    return sum(
        int(np.prod(op.inputs[1].shape))
        for op in read_file(converted.content).operators
        if "CONV" in op.name or op.name == "FULLY_CONNECTED"
        if op.inputs[1].dtype == "float32"
    )


@pytest.mark.parametrize("target", _TARGETS)
def test_those_and_no_others_compute_in_float32(target, rng):
    model = _model(rng)
    x = images(rng, (6, 6, 3), 32)
    options = {"target": target, "activations": "int8", "representative_data": x}
    several = [tuple(rng.permutation(_KERNELS)[:3]) for _ in range(4)]
    for names in [(), *((name,) for name in _KERNELS), *several]:
        converted = keras_sbn.convert(model, float_layers=names, **options)
        wanted = sum(int(np.prod(model.get_layer(name).kernel.shape)) for name in names)
        assert _float_weights(converted) == wanted
        kinds = {row.name: row.kind for row in converted.report.layers}
        # What is fused into the row of the next layer has no row of its own.
        assert all(kinds.get(name, "float") == "float" for name in names), kinds
        # The others compute as in a file without float layers, each in its row.
        others = [name for name in _KERNELS if name not in names]
        assert {kinds.get(name, kinds.get(f"{name}_linear")) for name in others} <= {"int8"}, kinds
        assert {kinds["binary"], kinds["binary_dense"]} <= {"binary", "int8"}
        # With XNNPACK and without.
        converted.predict(x)


@pytest.mark.parametrize("target", _TARGETS)
def test_with_every_layer_the_file_computes_what_one_of_float32_does(target, rng):
    model = _model(rng)
    x = images(rng, (6, 6, 3), 32)
    every = [layer.name for layer in keras_sbn.fold(model).layers[1:]]
    options = {"target": target, "activations": "int8", "representative_data": x}
    mixed = keras_sbn.convert(model, float_layers=every, **options)
    whole = keras_sbn.convert(model, target=target)
    np.testing.assert_allclose(mixed.predict(x), whole.predict(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", _TARGETS)
def test_a_network_made_binary_converts_in_the_precisions_of_its_table(target, rng):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = keras.layers.Conv2D(32, 3, activation="relu", name="second")(x)
    x = keras.layers.Conv2D(8, 3, activation="relu", name="third")(x)
    x = keras.layers.Dense(4, name="logits")(keras.layers.Flatten()(x))
    result = keras_sbn.binary_model(keras.Model(inputs, x), keep={"first": "float", "logits": "int8"})
    assert (result.activations, result.float_layers) == ("int8", ["first"])
    keras_sbn.binarize(result.model)
    converted = keras_sbn.convert(
        result.model,
        target=target,
        activations=result.activations,
        float_layers=result.float_layers,
        representative_data=images(rng, (8, 8, 3), 16),
    )
    kinds = {row.name: row.kind for row in converted.report.layers}
    assert (kinds["first"], kinds["second"], kinds["logits"]) == ("float", "binary", "int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"float_layers": "logits"}, r"a list of names\. Received: float_layers='logits'"),
        ({"float_layers": None}, r"a list of names\. Received: float_layers=None"),
        ({"float_layers": ["logit"]}, r"Received: 'logit'\. Did you mean 'logits'\?"),
        ({"float_layers": ["logits"], "target": "micro"}, r"no `float_layers` with target='micro'"),
    ],
)
def test_names_that_do_not_fit(options, message, rng):
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(_model(rng), **options)
