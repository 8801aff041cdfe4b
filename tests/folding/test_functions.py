"""Functions of `keras.ops` in the place of which a layer is read, and those that stay functions."""

import re

import keras
import numpy as np
import pytest
from conftest import images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding import functions
from keras_sbn.folding.functions import names
from keras_sbn.folding.graph import read
from keras_sbn.folding.ops import KerasCall

K = keras.layers
ops = keras.ops
_RNG = np.random.default_rng(0)


def _weights(*shape):
    return _RNG.normal(size=shape).astype("float32")


#: Functions of a map of 6 x 5 x 4, and the layer that computes the same. With JAX, Keras's pools need
#: their strides.
AS_LAYERS = {
    "max pool": (lambda x: ops.max_pool(x, 2, 2), K.MaxPooling2D),
    "max pool, strides, same": (lambda x: ops.max_pool(x, (3, 2), 1, padding="same"), K.MaxPooling2D),
    "max pool of rows": (lambda x: ops.max_pool(ops.reshape(x, (-1, 6, 20)), 2, 2), K.MaxPooling1D),
    "average pool": (lambda x: ops.average_pool(x, 2, 2), K.AveragePooling2D),
    "average pool, same": (lambda x: ops.average_pool(x, 2, 2, padding="same"), K.AveragePooling2D),
    "conv": (lambda x: ops.conv(x, _weights(3, 3, 4, 5)), K.Conv2D),
    "conv, strides": (lambda x: ops.conv(x, _weights(3, 2, 4, 5), (2, 1), "same"), K.Conv2D),
    "conv, dilation": (lambda x: ops.conv(x, _weights(2, 2, 4, 5), dilation_rate=2), K.Conv2D),
    "conv of rows": (lambda x: ops.conv(ops.reshape(x, (-1, 6, 20)), _weights(3, 20, 2)), K.Conv1D),
    "depthwise": (lambda x: ops.depthwise_conv(x, _weights(3, 3, 4, 2)), K.DepthwiseConv2D),
    "matmul": (lambda x: ops.matmul(x, _weights(4, 3)), K.Dense),
    "operator": (lambda x: x @ _weights(4, 3), K.Dense),
    "matmul of flat values": (lambda x: ops.matmul(ops.mean(x, (1, 2)), _weights(4, 3)), K.Dense),
    "dot": (lambda x: ops.dot(x, _weights(4, 3)), K.Dense),
    "einsum": (lambda x: ops.einsum("bhwc,cd->bhwd", x, _weights(4, 3)), K.Dense),
    "einsum, short": (lambda x: ops.einsum("...c,cd->...d", x, _weights(4, 3)), K.Dense),
    "batch normalization": (
        lambda x: ops.batch_normalization(
            x, _weights(4), _weights(4) ** 2, -1, _weights(4), _weights(4), epsilon=0.1
        ),
        K.BatchNormalization,
    ),
    "whitening": (
        lambda x: ops.batch_normalization(x, _weights(4), np.ones(4, "float32"), 3),
        K.BatchNormalization,
    ),
    "cast": (lambda x: ops.cast(x, "float32"), K.Identity),
    "copy": (ops.copy, K.Identity),
    "resize": (lambda x: ops.image.resize(x, (12, 15), interpolation="nearest"), K.UpSampling2D),
    "elu": (lambda x: ops.elu(x, alpha=0.5), K.ELU),
    "relu": (lambda x: keras.activations.relu(x), K.ReLU),
    "relu with all": (
        lambda x: keras.activations.relu(x, negative_slope=0.25, max_value=1.5, threshold=0.5),
        K.ReLU,
    ),
}

OLD = keras.__version__.startswith("3.4.")
if OLD:
    # It does not run batch_normalization in a model, and computes something else than einsum.
    WRONG = {name: AS_LAYERS.pop(name) for name in ("batch normalization", "whitening", "einsum, short")}
else:
    AS_LAYERS["no gradient"] = (ops.stop_gradient, K.Identity)


def _kinds(model, to_train=False):
    return [node.op.kind for node in read(model, to_train).nodes() if isinstance(node.op, KerasCall)]


@pytest.mark.parametrize("name", AS_LAYERS)
def test_the_layer_computes_what_the_function_does(name, rng):
    function, layer = AS_LAYERS[name]
    inputs = keras.Input((6, 5, 4))
    model = keras.Model(inputs, function(inputs))
    assert _kinds(model)[-1] is layer
    x = images(rng, (6, 5, 4), 8)
    found = keras_sbn.fold(model).predict(x, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-6, atol=1e-6)


def test_every_function_of_the_table_is_tried():
    tried = set()
    for function, _ in AS_LAYERS.values():
        inputs = keras.Input((6, 5, 4))
        tried |= {type(op).__name__ for op in keras.Model(inputs, function(inputs)).operations}
    assert set(names()) - ({"BatchNorm"} if OLD else set()) <= tried


@pytest.mark.skipif(not OLD, reason="later versions compute them")
def test_functions_that_keras_does_not_compute_stay_functions():
    for function, _ in WRONG.values():
        inputs = keras.Input((6, 5, 4))
        assert not issubclass(_kinds(keras.Model(inputs, function(inputs)))[-1], K.Layer)


#: What no layer computes, or of something else than one tensor and constants.
AS_FUNCTIONS = {
    "two tensors": lambda x: ops.matmul(x, ops.transpose(x, (0, 1, 3, 2))),
    "the constant first": lambda x: ops.matmul(_weights(7, 6), ops.reshape(x, (-1, 6, 20))),
    "a batch of matrices": lambda x: ops.matmul(ops.reshape(x, (-1, 6, 20)), _weights(1, 20, 3)),
    "another axis": lambda x: ops.einsum("bhwc,hd->bdwc", x, _weights(6, 3)),
    "one operand": lambda x: ops.einsum("bhwc->bwhc", x),
    "a diagonal": lambda x: ops.einsum("bhwc,cc->bhwc", x, _weights(4, 4)),
    "float16": lambda x: ops.cast(x, "float16"),
    "no multiple": lambda x: ops.image.resize(x, (7, 5), interpolation="nearest"),
    "antialias": lambda x: ops.image.resize(x, (12, 10), antialias=True),
}


@pytest.mark.parametrize("name", AS_FUNCTIONS)
def test_other_calls_stay_functions(name):
    inputs = keras.Input((6, 5, 4))
    model = keras.Model(inputs, AS_FUNCTIONS[name](inputs))
    assert not issubclass(_kinds(model)[-1], K.Layer)
    function = re.escape(model.operations[-1].name)
    with pytest.raises(ValueError, match=f"one float32 tensor and constants.*Received: .*'{function}'"):
        keras_sbn.convert(model)


def test_a_layer_that_gives_other_values_is_not_taken(monkeypatch):
    inputs = keras.Input((6, 5, 4))
    model = keras.Model(inputs, ops.max_pool(inputs, 2, 2))
    (kind,) = [type(op) for op in model.operations[1:]]
    monkeypatch.setitem(functions._LAYERS, kind, (K.AveragePooling2D, functions._pool("AveragePooling")))
    assert _kinds(model)[-1] is kind


def test_a_negative_sign_moves_through_the_next_product(rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingActivation()(layers.SelfBinarizingConv2D(8, 3)(inputs))
    x = layers.SelfBinarizingConv2D(4, 3)(-x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    images_ = rng.integers(-8, 9, (8, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(folded.predict(images_, verbose=0), model.predict(images_, verbose=0))
    assert not any("negative" in operation.name for operation in folded.operations)


def test_sums_of_bytes_are_refused():
    inputs = keras.Input((6, 5, 4), dtype="uint8")
    model = keras.Model(inputs, K.Rescaling(1.0)(inputs + inputs))
    with pytest.raises(ValueError, match="computes in uint8, which wraps around; a Rescaling"):
        keras_sbn.convert(model)


def test_errors_about_the_layer_name_the_function():
    inputs = keras.Input((6, 5, 4))
    model = keras.Model(inputs, ops.image.resize(inputs, (12, 10), interpolation="bilinear"))
    function = model.operations[-1].name
    assert read(model).outputs[0].op.operation.name == function
    with pytest.raises(ValueError, match=f"Received: '{function}' with interpolation='bilinear'"):
        keras_sbn.convert(model)


def test_functions_of_16_bits_stay_functions():
    inputs = keras.Input((6, 5, 4), dtype="float16")
    model = keras.Model(inputs, ops.max_pool(inputs, 2))
    assert not issubclass(_kinds(model)[-1], K.Layer)


def test_under_another_policy_the_layer_computes_in_float32(rng):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((6, 5, 4), dtype="float32")
        model = keras.Model(inputs, ops.max_pool(ops.conv(inputs, _weights(3, 3, 4, 5)), 2, 2))
        x = images(rng, (6, 5, 4), 8)
        kinds = _kinds(model)
        found = keras_sbn.fold(model).predict(x, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    assert kinds == [K.Conv2D, K.MaxPooling2D]
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-6, atol=1e-6)


def test_of_a_model_to_train_constants_stay_constants():
    inputs = keras.Input((6, 5, 4))
    x = ops.matmul(inputs, _weights(4, 3))
    x = x if OLD else ops.stop_gradient(x)
    model = keras.Model(inputs, ops.max_pool(x, 2, 2))
    *functions, pool = _kinds(model, to_train=True)
    assert not any(issubclass(kind, K.Layer) for kind in functions)
    assert pool is K.MaxPooling2D


class Convolution(K.Layer):
    """A float convolution with a weight of its own, as users write it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 4), name="kernel")
        self.bias = self.add_weight(shape=(4,), name="bias")

    def call(self, x):
        x = ops.conv(x, self.kernel, padding="same") + self.bias
        return keras.activations.relu(ops.max_pool(x, 2, 2))


class Flat(K.Layer):
    """Reshapes with the size of the batch, in the ways that users find."""

    def __init__(self, how, **kwargs):
        super().__init__(**kwargs)
        self.how = how

    def get_config(self):
        return {**super().get_config(), "how": self.how}

    def call(self, x):
        batch, height, width, channels = ops.shape(x)
        if self.how == "rest":
            return ops.reshape(x, (batch, -1))
        if self.how == "rows":
            return ops.reshape(x, (batch, height, -1))
        if self.how == "without":
            return ops.reshape(
                ops.reshape(x, [-1, height, width, channels]), (-1, height * width * channels)
            )
        if self.how == "middle":
            return ops.reshape(x, (ops.shape(x)[0], -1, channels))
        return ops.reshape(x, [batch, height * width * channels])


@pytest.mark.parametrize("how", ["rest", "rows", "middle", "sizes", "without"])
def test_a_reshape_to_the_size_of_the_batch(how, rng):
    inputs = keras.Input((6, 5, 4))
    x = layers.SelfBinarizingConv2D(8, 3, padding="same")(Convolution()(inputs))
    x = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(x))
    y = Flat(how)(x)
    if None not in y.shape[1:]:  # Keras does not find out what -1 is.
        y = layers.SelfBinarizingDense(3)(y)
    model = keras.Model(inputs, y)
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = images(rng, (6, 5, 4), 8)
    folded = keras_sbn.fold(model)
    assert not any(isinstance(layer, Flat | Convolution) for layer in folded.layers)
    found, expected = folded.predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


#: Functions of an image of bytes, and the layer that computes the same numbers without rounding.
RESCALED = {
    "quotient": (lambda x: x / 128, {"scale": 1 / 128}),
    "cast": (lambda x: ops.cast(x, "float32") / 128.0 - 1.0, {"scale": 1 / 128, "offset": -1.0}),
    "difference first": (
        lambda x: (ops.cast(x, "float32") - 128.0) / 128.0,
        {"scale": 1 / 128, "offset": -1.0},
    ),
    "product": (lambda x: x * 0.0078125 - 1.0, {"scale": 1 / 128, "offset": -1.0}),
    "turned": (lambda x: 1.0 - x / 128.0, {"scale": -1 / 128, "offset": 1.0}),
    "layer and function": (lambda x: K.Rescaling(0.5)(x) / 64 - 1, {"scale": 1 / 128, "offset": -1.0}),
    "negative": (lambda x: -(x / 128), {"scale": -1 / 128}),
    "flat": (lambda x: ops.reshape(x / 128, (-1, 6, 6, 3)), {"scale": 1 / 128}),
}


@pytest.mark.parametrize("name", RESCALED)
def test_arithmetic_on_an_image_moves_through_the_first_layer(name, rng):
    function, rescaling = RESCALED[name]
    x = rng.integers(0, 256, (16, 6, 6, 3)).astype("uint8")
    folded, models = [], []
    weights = None
    for make in (function, K.Rescaling(**rescaling)):
        inputs = keras.Input((6, 6, 3), dtype="uint8")
        y = layers.SelfBinarizingConv2D(8, 3, name="first")(make(inputs))
        y = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(y))
        model = keras.Model(inputs, layers.SelfBinarizingConv2D(2, 3)(y))
        randomize(model, rng)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        keras_sbn.binarize(model)
        models.append(model)
        folded.append(keras_sbn.fold(model))
    # Sums of multiples of 1/128 are exact in float32, so that nothing is a matter of rounding.
    expected = models[0].predict(x, verbose=0)
    for one in folded:
        np.testing.assert_array_equal(one.predict(x, verbose=0), expected)
    assert [type(layer).__name__ for layer in folded[0].layers if "reshape" not in layer.name] == [
        type(layer).__name__ for layer in folded[1].layers
    ]
