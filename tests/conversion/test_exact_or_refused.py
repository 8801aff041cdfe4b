"""A file computes what the model computes, on every kernel there is, or `convert` names the layer.

Each test is a kind of network that users write and that the rules do not know by heart.
"""

import functools
import re

import keras
import numpy as np
import pytest
from conftest import images, randomize, run_everywhere

import keras_sbn
from keras_sbn import layers
from keras_sbn.conversion.registry import LOWERINGS
from keras_sbn.extras import why_not_run
from keras_sbn.folding import graph
from keras_sbn.folding.graph import read
from keras_sbn.folding.value_ranges import is_binary
from keras_sbn.tflite.reader import read_file

K = keras.layers
ops = keras.ops
TORCH = keras.backend.backend() == "torch"
TARGETS = pytest.mark.parametrize("target", ["lce", "tflite"])


def bits(y, **options):
    """Convolution, batch normalization and sign."""
    y = layers.SelfBinarizingConv2D(16, 3, padding="same", **options)(y)
    return layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(y))


def hard(inputs, outputs, rng):
    model = keras.Model(inputs, outputs)
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def check(model, x, target, tolerance=1e-4, **options):
    """Converts, runs the file everywhere, and compares it with the model."""
    converted = keras_sbn.convert(model, target, **options)
    received = run_everywhere(converted, x, tolerance)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(received, expected, rtol=tolerance, atol=tolerance)
    return converted


# Subclasses and activations.


class Standardized(K.Conv2D):
    def convolution_op(self, inputs, kernel):
        kernel = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel)


class Softplus(K.ReLU):
    def call(self, inputs):
        return ops.softplus(inputs)


class SquarePool(K.MaxPooling2D):
    def call(self, inputs):
        return super().call(inputs * inputs)


class Loud(K.Add):
    def _merge_function(self, inputs):
        return 2 * super()._merge_function(inputs)


class Doubled(K.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training) + 1


class Preset(K.Conv2D):
    def __init__(self, filters=4, **kwargs):
        super().__init__(filters, 3, padding="same", activation="relu", **kwargs)


@TARGETS
@pytest.mark.parametrize(
    "make",
    [
        lambda y: Standardized(4, 3, name="own")(y),
        lambda y: Softplus(name="own")(y),
        lambda y: SquarePool(name="own")(y),
        lambda y: Loud(name="own")([y, y]),
        lambda y: Doubled(name="own")(y),
        lambda y: K.Dropout(0.5, name="own")(y, training=True),
    ],
    ids=["convolution_op", "relu", "pool", "merge", "normalization", "training"],
)
def test_what_computes_otherwise_is_refused_by_name(make, target, rng):
    inputs = keras.Input((6, 6, 3))
    y = K.Conv2D(4, 3)(inputs)
    model = hard(inputs, K.Flatten()(make(bits(y))), rng)
    with pytest.raises(ValueError, match=r"Expected .*Received: .*'own'"):
        keras_sbn.convert(model, target, allow_float_fallback=True)


_CONSTANT = np.linspace(-1, 1, 6 * 6 * 4, dtype="float32").reshape(1, 6, 6, 4)
#: What the layer is of several tensors, and, where a file can have it, the function that takes an array.
_MERGING = {
    K.Add: ops.add,
    K.Subtract: ops.subtract,
    K.Multiply: ops.multiply,
    K.Maximum: ops.maximum,
    K.Minimum: ops.minimum,
    K.Concatenate: None,
    K.Average: None,
    K.Dot: None,
}


@TARGETS
@pytest.mark.parametrize("kind", _MERGING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("call", ["in order", "by name", "sign", "sums"])
def test_a_constant_among_the_inputs_is_refused_or_computed(kind, call, target, rng):
    """An array beside the tensors of a model is not a part of the graph that the fold and a file see."""
    options = {"axes": (1, 1)} if kind is K.Dot else {}
    inputs = keras.Input(batch_shape=(1, 6, 6, 4))

    def network(merge):
        of_signs = layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)
        x = merge((K.Conv2D(4, 3, padding="same") if call == "sign" else of_signs)(inputs))
        if call in ("sign", "sums"):
            x = layers.SelfBinarizingActivation()(K.BatchNormalization()(x))
        return hard(inputs, x, rng)

    layer = kind(name="own", **options)
    calls = {"by name": lambda x: layer(inputs=[x, _CONSTANT])}
    model = network(calls.get(call, lambda x: layer([x, _CONSTANT])))
    x = images(rng, (6, 6, 4), 1)
    folded = keras_sbn.fold(model)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)
    refused = r"Received: Add.*'own': it is called with a constant among its inputs"
    if kind in (K.Average, K.Dot):
        refused = r"a layer that converts\. Received: .*'own'|constant among its inputs"
    with pytest.raises(ValueError, match=refused.replace("Add", kind.__name__)):
        keras_sbn.convert(folded, target, allow_float_fallback=True)
    # The remedy: the function of keras.ops, in place of the layer.
    if _MERGING[kind] is not None:
        check(network(lambda x: _MERGING[kind](x, _CONSTANT)), x, target, 1e-5)


@TARGETS
@pytest.mark.parametrize("function", [ops.concatenate, ops.stack])
def test_an_array_beside_the_tensors_of_a_function_is_refused(function, target):
    inputs = keras.Input(batch_shape=(1, 6, 6, 4))
    x = layers.SelfBinarizingActivation()(inputs)
    # Of signs as well: what is joined to ±1 is not ±1.
    outputs = function([x, _CONSTANT])
    assert not is_binary(read(keras.Model(inputs, outputs)).outputs[0])
    model = keras.Model(inputs, outputs)
    keras_sbn.binarize(model)
    said = r"Expected an operation (on tensors of the model alone|that converts)\. Received: "
    with pytest.raises(ValueError, match=said):
        keras_sbn.convert(model, target)


@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero)")
@pytest.mark.parametrize("target", ["lce", "c", "onnx"])
@pytest.mark.parametrize("function", [ops.sqrt, ops.rsqrt, ops.log, lambda x: x / (x - x)])
def test_the_sign_of_nan_is_that_of_the_model(function, target, rng):
    """A root of a negative number, a quotient of zeros: +1 in Keras and in files that hold NaN."""
    if why_not_run(target) is not None:
        pytest.skip(str(why_not_run(target)))
    inputs = keras.Input((6, 6, 3))
    x = function(layers.SelfBinarizingConv2D(8, 3)(inputs))
    model = hard(inputs, layers.SelfBinarizingActivation()(x), rng)
    x = images(rng, (6, 6, 3), 8)
    assert np.isnan(keras.Model(inputs, model.layers[-1].input).predict(x, verbose=0)).any()
    for one in (model, keras_sbn.fold(model)):
        converted = keras_sbn.convert(one, target, allow_float_fallback=True)
        received = run_everywhere(converted, x) if target == "lce" else converted.predict(x)
        np.testing.assert_array_equal(received, one.predict(x, verbose=0))
        np.testing.assert_array_equal(received, model.predict(x, verbose=0))


@TARGETS
@pytest.mark.parametrize("bounds", [(1.0, -0.5), (None, 0.5), (-0.5, None)], ids=str)
def test_clip_without_a_lower_and_an_upper_bound_is_refused(bounds, target, rng):
    """Backends disagree on bounds that are the other way round, and on those that are left out."""

    def network(clip):
        inputs = keras.Input((6, 6, 3))
        return hard(inputs, clip(layers.SelfBinarizingConv2D(4, 3)(inputs)), rng)

    with pytest.raises(ValueError, match="Expected clip with a lower bound and an upper one"):
        keras_sbn.convert(network(lambda x: ops.clip(x, *bounds)), target, allow_float_fallback=True)
    low, high = bounds
    x = images(rng, (6, 6, 3), 4)
    if low is not None and high is not None:
        remedy = network(lambda x: ops.clip(x, high, low))
    elif low is None:
        remedy = network(lambda x: ops.minimum(x, high))
    else:
        remedy = network(lambda x: ops.maximum(x, low))
    check(remedy, x, target, allow_float_fallback=True)


@pytest.mark.parametrize("axis", [-1, (2, 3), (1, 2, 3), 2])
def test_layer_normalization_over_other_axes_than_the_last_ones(axis, rng):
    """On PyTorch Keras normalizes over the last axes, as many as `axis` has, whichever these are."""

    def network(normalize):
        inputs = keras.Input((6, 6, 6))
        x = layers.SelfBinarizingConv2D(4, 3)(inputs)
        return hard(inputs, normalize(x), rng)

    x = images(rng, (6, 6, 6), 4)
    model = network(K.LayerNormalization(axis=axis, name="own"))
    if TORCH and axis == 2:
        with pytest.raises(ValueError, match=r"over the last axes, with PyTorch\. Received: 'own'"):
            keras_sbn.convert(model, "tflite", allow_float_fallback=True)
        permute = K.Permute((1, 3, 2))
        model = network(lambda x: permute(K.LayerNormalization()(permute(x))))
    check(model, x, "tflite", allow_float_fallback=True)


def test_what_is_unknown_is_refused_before_the_representative_data_are_run(rng):
    def data():
        raise AssertionError("read")
        yield

    inputs = keras.Input((6, 6, 3))
    model = hard(inputs, K.Flatten()(ops.erf(bits(inputs))), rng)
    for target in ("tflite", "micro"):
        with pytest.raises(ValueError, match=r"an operation that converts\. Received: Erf"):
            keras_sbn.convert(model, target, representative_data=data)


@pytest.mark.parametrize(
    "kind", [K.Dropout, K.Identity, K.Rescaling, K.ReLU, layers.SelfBinarizingActivation]
)
def test_a_layer_of_one_input_called_with_several_is_refused(kind, rng):
    """Keras takes a list of tensors there, and gives a list."""
    arguments = {K.Dropout: [0.5], K.Rescaling: [2.0]}.get(kind, [])

    def network(call):
        inputs = keras.Input((6, 6, 3))
        both = [layers.SelfBinarizingConv2D(4, 3)(inputs) for _ in range(2)]
        return hard(inputs, K.Flatten()(call(both)[1]), rng)

    try:
        model = network(kind(*arguments, name="own"))
    except (TypeError, ValueError):
        model = None  # Keras refuses it.
    if model is not None:
        with pytest.raises(ValueError, match=r"Expected layer 'own' to have one input\. Received"):
            keras_sbn.convert(model, allow_float_fallback=True)
    remedy = network(lambda both: [kind(*arguments)(x) for x in both])
    check(remedy, images(rng, (6, 6, 3), 4), "tflite", allow_float_fallback=True)


#: What users do with an image as it is stored; Keras computes much of it modulo 256.
_OF_INTEGERS = {
    "read": lambda x: x,
    "less": lambda x: x - 128,
    "less, in floats": lambda x: x - 128.0,
    "twice": lambda x: x * 2,
    "negative": lambda x: -x,
    "divided": lambda x: x / 255,
    "not below": lambda x: ops.maximum(x, 100),
    "not below a negative": lambda x: ops.maximum(x, -1),
    "padded": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1),
    "mean": lambda x: ops.mean(x, axis=-1, keepdims=True),
    "sum": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "distance": lambda x: ops.abs(x - 200),
    "flipped": lambda x: ops.flip(x[:, 1:], axis=2),
    "added": lambda x: K.Add()([x, x]),
    "differences": lambda x: K.Subtract()([x[:, 1:], x[:, :-1]]),
    "added to floats": lambda x: K.Add()([K.Rescaling(1.0)(x), x]),
    "pooled": lambda x: K.MaxPooling2D(2)(x),
    "pooled, then less": lambda x: K.MaxPooling2D(2)(x) - 100,
    "averaged": lambda x: K.AveragePooling2D(2)(x),
    "averaged everywhere": lambda x: K.UpSampling2D(4)(K.GlobalAveragePooling2D(keepdims=True)(x)),
    "zeros": lambda x: K.ZeroPadding2D(1)(x),
    "dropout": lambda x: K.Dropout(0.5)(x),
    "normalized": lambda x: K.BatchNormalization()(x),
    "normalized with given": lambda x: K.Normalization(mean=[1, 2, 3], variance=[4, 5, 6])(x),
    "layer normalized": lambda x: K.LayerNormalization()(x),
    "relu": lambda x: K.ReLU()(x),
    "prelu": lambda x: K.PReLU()(x),
    "softmax": lambda x: K.Softmax()(x),
    "tanh": lambda x: K.Activation("tanh")(x),
    "convolution": lambda x: K.Conv2D(4, 3)(x),
    "dense": lambda x: K.Dense(4)(x),
    "sign": lambda x: layers.SelfBinarizingActivation()(x),
    "normalization": lambda x: layers.BinaryBatchNormalization()(x),
    "depthwise": lambda x: layers.SelfBinarizingDepthwiseConv2D(3)(x),
    "separable": lambda x: layers.SelfBinarizingSeparableConv2D(4, 3)(x),
    "transposed": lambda x: layers.SelfBinarizingConv2DTranspose(4, 3)(x),
}


#: What every backend computes of integers, with Keras 3.4 too; the others may end in an error of Keras.
_EVERYWHERE = {
    *("read", "less, in floats", "divided", "mean", "flipped", "added to floats", "zeros", "dropout"),
    *("normalized with given", "sign", "normalization", "depthwise", "separable", "transposed"),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
@pytest.mark.parametrize("name", _OF_INTEGERS)
def test_arithmetic_of_integers_is_exact_or_refused(name, dtype, rng):
    def network(x):
        x = layers.SelfBinarizingConv2D(8, 3)(_OF_INTEGERS[name](x))
        x = layers.SelfBinarizingActivation()(K.BatchNormalization()(x))
        return hard(inputs, layers.SelfBinarizingDense(5)(K.Flatten()(x)), rng)

    inputs = keras.Input((8, 8, 3), dtype=dtype)
    given = rng.integers(*((0, 256) if dtype == "uint8" else (-128, 128)), (8, 8, 8, 3)).astype(dtype)
    try:
        model = network(inputs)
        expected = keras.ops.convert_to_numpy(model(given, training=False))
    except Exception:  # Backends have no type of error in common here.
        assert name not in _EVERYWHERE
        model = None
    if model is not None:
        folded = keras_sbn.fold(model)
        found = keras.ops.convert_to_numpy(folded(given, training=False))
        np.testing.assert_array_equal(found, expected)
        for target in ("lce", "tflite"):
            try:
                converted = keras_sbn.convert(folded, target, allow_float_fallback=True)
            except ValueError as error:
                said = str(error)
            else:
                np.testing.assert_array_equal(converted.predict(given), expected, err_msg=target)
                continue
            assert re.search(r"it computes in u?int\d+, which .*a Rescaling\(1\.0\) before it", said), (
                said
            )
    # The remedy, which gives the numbers that were meant.
    model = network(K.Rescaling(1.0)(inputs))
    converted = keras_sbn.convert(keras_sbn.fold(model), "tflite", allow_float_fallback=True)
    received = run_everywhere(converted, given, 1e-4)
    expected = keras.ops.convert_to_numpy(model(given, training=False))
    assert (np.abs(received - expected) < 1e-3).mean() > 0.9, "float layers round otherwise"


def test_integers_of_which_nothing_is_known_are_no_floats(monkeypatch, rng):
    """This backend cannot compute the layer; another one, that trained it, may have wrapped around."""
    monkeypatch.setattr(graph, "output_dtype", lambda *call: None)
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.SelfBinarizingConv2D(4, 3)(K.Add(name="own")([inputs, inputs]))
    with pytest.raises(ValueError, match="'own': it computes in uint8"):
        keras_sbn.convert(hard(inputs, x, rng), allow_float_fallback=True)


@TARGETS
def test_a_subclass_that_only_changes_arguments_converts(target, rng):
    inputs = keras.Input((6, 6, 3))
    model = hard(inputs, Preset(name="own")(bits(inputs)), rng)
    check(model, images(rng, (6, 6, 3), 4), target, 1e-3)


@TARGETS
@pytest.mark.parametrize(
    "activation",
    [
        K.LeakyReLU(0.3, name="leaky"),
        K.ReLU(max_value=3.0, name="capped"),
        K.ReLU(negative_slope=0.1, name="sloped"),
        "leaky_relu",
        "silu",
        "hard_sigmoid",
        "hard_silu",
        "softsign",
        "gelu",
        "exponential",
        keras.activations.relu6,
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "name", "relu6"),
)
@pytest.mark.parametrize(
    "layer",
    [K.Dense, functools.partial(K.Conv2D, kernel_size=3), K.Activation],
    ids=["dense", "convolution", "activation"],
)
def test_activations_convert_as_arguments(activation, layer, target, rng):
    inputs = keras.Input((5, 5, 3))
    y = bits(inputs)
    scaled = K.Conv2D(3, 1, kernel_initializer="lecun_normal", name="scale")(y)
    make = layer(activation) if layer is K.Activation else layer(4, activation=activation)
    model = keras.Model(inputs, make(scaled))
    keras_sbn.binarize(model)
    check(model, images(rng, (5, 5, 3), 4), target, 1e-4)


def relu(x):
    """Not Keras's."""
    return ops.softplus(x)


@TARGETS
@pytest.mark.parametrize(
    ("activation", "word"),
    [
        (relu, "relu"),
        (functools.partial(ops.leaky_relu, negative_slope=0.1), "partial"),
        (lambda x: x * 2, "lambda"),
        (Softplus(), "Softplus"),
    ],
    ids=["own function", "partial", "lambda", "own layer"],
)
def test_an_activation_that_does_not_convert_is_named(activation, word, target, rng):
    inputs = keras.Input((5, 5, 3))
    model = hard(inputs, K.Dense(4, activation=activation, name="head")(bits(inputs)), rng)
    with pytest.raises(ValueError, match=rf"Received: .*'head'.*{word}|Received: .*{word}.*'head'"):
        keras_sbn.convert(model, target)


def test_the_remedy_for_an_activation_helps(rng):
    inputs = keras.Input((5, 5, 3))
    y = K.Dense(4, name="head")(bits(inputs))
    model = hard(inputs, ops.maximum(y, 0.0) + 1.0, rng)
    check(model, images(rng, (5, 5, 3), 4), "tflite")


# Arguments of layers and of operations.


@TARGETS
@pytest.mark.parametrize(
    "make",
    [
        lambda y: ops.round(y / 3, 1),
        lambda y: ops.max(y, axis=(1, 2), initial=5.0),
        lambda y: ops.min(y, axis=(1, 2), initial=-5.0),
        lambda y: K.UpSampling2D(interpolation="bilinear")(y),
        lambda y: K.Flatten(data_format="channels_first")(K.Conv2D(4, 3)(y)),
        lambda y: K.ZeroPadding2D(1, data_format="channels_first")(y),
        lambda y: K.GlobalMaxPooling2D(data_format="channels_first")(K.Conv2D(4, 3)(y)),
    ],
    ids=["round", "max", "min", "bilinear", "flatten", "padding", "pool"],
)
def test_arguments_that_files_do_not_have(make, target, rng):
    """Exact, where the fold has a way, and refused elsewhere: never another result."""
    inputs = keras.Input((6, 6, 3))
    model = hard(inputs, make(bits(inputs)), rng)
    x = images(rng, (6, 6, 3), 4)
    try:
        converted = keras_sbn.convert(model, target)
    except ValueError:
        with pytest.raises(ValueError, match=r"Received: .*'"):
            keras_sbn.convert(model, target)
        return
    received, expected = run_everywhere(converted, x, 1e-3), model.predict(x, verbose=0)
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", ["int8", "int4"])
@TARGETS
def test_layers_that_keras_quantized_are_refused(mode, target, rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(4)(inputs)
    model = keras.Model(inputs, K.Dense(4, name="head")(x))
    keras_sbn.binarize(model)
    try:
        model.get_layer("head").quantize(mode)
    except (NotImplementedError, ValueError):
        pytest.skip(f"this Keras does not quantize to {mode}")
    with pytest.raises(ValueError, match=r"Received: .*'head'.*quantized"):
        keras_sbn.convert(model, target)


# Strides longer than the window.


@TARGETS
@pytest.mark.parametrize(
    ("size", "window", "strides"),
    [(12, 3, 4), (12, (2, 2), 3), (12, (3, 1), 2), (9, 2, 4), (10, (1, 3), 3), (7, 1, 2)],
    ids=str,
)
@pytest.mark.parametrize("kind", ["binary", "float", "depthwise", "pool", "average", "image"])
def test_strides_longer_than_the_window(size, window, strides, kind, target, rng):
    geometry = {"padding": "same", "strides": strides}
    x = images(rng, (size, size, 3), 3)
    inputs = keras.Input((size, size, 3))
    if kind == "image":
        inputs = keras.Input((size, size, 3), dtype="uint8")
        x = rng.integers(0, 256, (3, size, size, 3)).astype("uint8")
        scaled = K.Rescaling(1 / 255)(inputs)
        y = layers.SelfBinarizingConv2D(8, window, pad_value=0.0, **geometry)(scaled)
        y = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(y))
    elif kind == "binary":
        y = layers.SelfBinarizingConv2D(8, window, **geometry)(bits(inputs))
    elif kind == "float":
        y = K.Conv2D(4, window, **geometry)(inputs)
    elif kind == "depthwise":
        y = K.DepthwiseConv2D(window, **geometry)(inputs)
    else:
        pool = K.MaxPooling2D if kind == "pool" else K.AveragePooling2D
        y = pool(window, **geometry)(bits(inputs))
    model = hard(inputs, bits(y, binarize_input=True), rng)
    if TORCH and kind == "average" and window == (3, 1):
        with pytest.raises(ValueError, match=r"'average_pool.*Keras with PyTorch repeats the edge"):
            keras_sbn.convert(model, target)
        # The remedy.
        y = K.AveragePooling2D(window, strides)(bits(inputs))
        model = hard(inputs, bits(y, binarize_input=True), rng)
    check(model, x, target, 1e-3)


# Int8.


@TARGETS
@pytest.mark.parametrize("gamma", [0.0, 1e-9, -1e-9, 1.0])
def test_constant_channels_before_a_sign_in_int8(gamma, target, rng):
    """The sums of what never changes its sign do not overflow, whatever the kernel shifts."""
    inputs = keras.Input((6, 6, 3))
    norm = K.BatchNormalization()
    y = layers.SelfBinarizingActivation()(norm(K.Conv2D(8, 3)(inputs)))
    model = keras.Model(inputs, K.Flatten()(y))
    keras_sbn.binarize(model)
    beta = np.resize([1e6, -1e6, 1.0, -1.0], 8)
    norm.set_weights([np.full(8, gamma), beta, np.zeros(8), np.ones(8)])
    x = images(rng, (6, 6, 3), 16)
    converted = keras_sbn.convert(model, target, activations="int8", representative_data=x)
    received, expected = run_everywhere(converted, x), model.predict(x, verbose=0)
    constant = np.abs(gamma) < 1e-3 or np.abs(beta) > 1e5
    always = np.broadcast_to(constant, (16, 4, 4, 8)).reshape(16, -1)
    np.testing.assert_array_equal(received[always], expected[always])


@TARGETS
def test_constant_channels_that_are_numbers_in_int8(target, rng):
    inputs = keras.Input((6, 6, 3))
    norm = K.BatchNormalization()
    y = K.ReLU(max_value=6)(norm(K.Conv2D(8, 3)(inputs)))
    model = hard(inputs, bits(y), rng)
    # Far beyond 6 and below 0, a bias of this size is shifted out of 32 bits.
    beta = np.resize([1e12, 3.0, -1e12, 1e6], 8)
    norm.set_weights([np.full(8, 1e-9), beta, np.zeros(8), np.ones(8)])
    x = images(rng, (6, 6, 3), 16)
    converted = keras_sbn.convert(model, target, activations="int8", representative_data=x)
    received, expected = run_everywhere(converted, x), model.predict(x, verbose=0)
    assert np.mean(received == expected) > 0.99


@TARGETS
def test_signs_of_every_rank_in_int8(target, rng):
    """±1 is read as int8 numbers where a vector, and steps, hold it."""
    x = images(rng, (6, 4, 3), 8)
    inputs = keras.Input((6, 4, 3))
    flat = layers.SelfBinarizingActivation()(K.Flatten()(inputs))
    steps = layers.SelfBinarizingActivation()(K.Reshape((8, 9))(inputs))
    joined = K.Concatenate()([K.Dense(4, name="a")(flat), K.Flatten()(K.Dense(2, name="b")(steps))])
    model = hard(inputs, joined, rng)
    for output_type in ("float32", "int8"):
        converted = keras_sbn.convert(
            model, target, activations="int8", representative_data=x, output_type=output_type
        )
        received = run_everywhere(converted, x, 0.3)
        assert np.abs(received - model.predict(x, verbose=0)).max() < 0.5


@TARGETS
def test_a_sign_of_a_vector_leaves_as_int8(target, rng):
    inputs = keras.Input((12,))
    y = layers.SelfBinarizingActivation()(layers.SelfBinarizingDense(5, binarize_input=True)(inputs))
    model = hard(inputs, y, rng)
    x = images(rng, (12,), 8)
    options = {"activations": "int8", "representative_data": x, "output_type": "int8"}
    np.testing.assert_array_equal(
        run_everywhere(keras_sbn.convert(model, target, **options), x), model.predict(x, verbose=0)
    )


# The Larq Compute Engine's default kernel.


@TARGETS
@pytest.mark.parametrize("filters", [64, 6])
@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("output", ["bits", "numbers", "int8"])
def test_groups_run_on_every_kernel(filters, pad_value, output, target, rng):
    inputs = keras.Input((5, 6, 64))
    y = layers.SelfBinarizingActivation()(inputs)
    conv = layers.SelfBinarizingConv2D(filters, 3, padding="same", groups=2, pad_value=pad_value)
    y = conv(y)
    if output == "bits":
        y = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(y))
        y = layers.SelfBinarizingConv2D(4, 1)(y)
    model = hard(inputs, y, rng)
    x = images(rng, (5, 6, 64), 4)
    options = {}
    if output == "int8":
        options = {"activations": "int8", "representative_data": x, "output_type": "int8"}
        received = run_everywhere(keras_sbn.convert(model, target, **options), x)
        assert np.abs(received - model.predict(x, verbose=0)).max() <= 3
        return
    converted = check(model, x, target, 0.0)
    if target == "lce":
        assert {row.kind for row in converted.report.layers if row.weights} == {"binary"}


def test_more_products_than_the_engine_sums(rng):
    """From 65,024 on its default kernel is wrong for some sizes; the remedy is tried."""
    inputs = keras.Input((65_056,))
    y = layers.SelfBinarizingDense(2, name="wide")(layers.SelfBinarizingActivation()(inputs))
    model = hard(inputs, y, rng)
    with pytest.raises(ValueError, match=r"65,024 products.*'wide' with 65,056\. .*target='tflite'"):
        keras_sbn.convert(model, "lce")
    check(model, images(rng, (65_056,), 2), "tflite", 0.0)
    inputs = keras.Input((65_536,))
    y = layers.SelfBinarizingDense(2)(layers.SelfBinarizingActivation()(inputs))
    check(hard(inputs, y, rng), images(rng, (65_536,), 2), "lce", 0.0)


# First layers.


@TARGETS
@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("scaling", [(1 / 255, 0.0), (1 / 128, -1.0), (1 / 127.5, -1.0)])
@pytest.mark.parametrize("scaled", ["rescaling", "input_scaling"])
def test_a_first_layer_on_a_rescaled_image_sums_integers(pad_value, scaling, scaled, target, rng):
    if pad_value != 1 and (pad_value, scaling) != (-1.0, (1 / 128, -1.0)) and scaling[1] != 0:
        pytest.skip("no whole number of steps")
    image = rng.integers(0, 256, (8, 6, 6, 3)).astype("uint8")
    image[:2] = np.array([0, 255], "uint8").reshape(2, 1, 1, 1)
    dtype = "uint8" if scaled == "rescaling" else "float32"
    inputs = keras.Input((6, 6, 3), dtype=dtype)
    y = K.Rescaling(*scaling)(inputs) if scaled == "rescaling" else inputs
    model = hard(inputs, bits(y, pad_value=pad_value), rng)
    if scaled == "input_scaling":
        model = keras_sbn.fold(model, input_scaling=scaling)
    converted = keras_sbn.convert(model, target)
    received = run_everywhere(converted, image)
    np.testing.assert_array_equal(received, keras_sbn.fold(model).predict(image, verbose=0))
    (row,) = [row for row in converted.report.layers if row.weights]
    assert row.kind == "int8"
    assert "integer arithmetic" in row.reason


# Remedies.


@TARGETS
@pytest.mark.parametrize(
    ("make", "producer"),
    [
        (lambda y: K.ZeroPadding2D(name="between")(y), "between"),
        (lambda y: K.AveragePooling2D(2, name="between")(y), "between"),
        (lambda y: K.Add(name="between")([y, y]), "between"),
        (lambda y: K.ReLU(name="between")(y), "between"),
        (lambda y: ops.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]), "pad"),
        (lambda y: layers.SelfBinarizingConv2D(4, 3, name="between")(y), "between"),
        (lambda y: layers.BinaryBatchNormalization(name="between")(y), "between"),
    ],
    ids=["padding", "average", "add", "relu", "ops.pad", "convolution", "normalization"],
)
def test_a_real_input_names_the_layer_that_makes_it_and_the_remedy_helps(make, producer, target, rng):
    def network(**options):
        inputs = keras.Input((6, 6, 3))
        y = make(bits(inputs))
        return hard(inputs, layers.SelfBinarizingConv2D(4, 3, name="reads", **options)(y), rng)

    with pytest.raises(
        ValueError, match=rf"'reads' to be binary.*comes from '{producer}.*binarize_input"
    ):
        keras_sbn.convert(network(), target)
    check(network(binarize_input=True), images(rng, (6, 6, 3), 4), target, 0.0)


# The file as other tools read it.


@TARGETS
def test_constants_have_names_of_their_own_and_files_a_signature(target, rng):
    inputs = keras.Input((6, 6, 3), name="picture")
    y = bits(bits(inputs))
    model = hard(inputs, {"b": K.Flatten(name="flat")(y), "a": K.GlobalMaxPooling2D()(y)}, rng)
    converted = keras_sbn.convert(model, target)
    info = read_file(converted.content)
    constants = {
        tensor.name: tensor.data
        for op in info.operators
        for tensor in op.inputs
        if tensor and tensor.bytes
    }
    count = len({id(t) for op in info.operators for t in op.inputs if t is not None and t.bytes})
    assert len(constants) == count
    if target == "tflite":
        from keras_sbn.tflite.interpreter import TfliteInterpreter

        engine = TfliteInterpreter(converted.content)._engine
        (signature,) = engine.get_signature_list().values()
        assert signature == {"inputs": ["picture"], "outputs": ["a", "b"]}
        runner = engine.get_signature_runner("serving_default")
        x = images(rng, (6, 6, 3), 1)
        expected = model.predict(x, verbose=0)
        for name, value in runner(picture=x).items():
            np.testing.assert_array_equal(value, expected[name])


def test_the_batch_of_a_portable_file_can_be_resized(rng):
    from keras_sbn.tflite.interpreter import TfliteInterpreter

    inputs = keras.Input((6, 6, 3), name="picture")
    y = layers.SelfBinarizingDense(4)(K.Flatten()(bits(inputs)))
    model = hard(inputs, y, rng)
    x = images(rng, (6, 6, 3), 5)
    engine = TfliteInterpreter(keras_sbn.convert(model, "tflite").content, xnnpack=False)._engine
    (given,), (wanted,) = engine.get_input_details(), engine.get_output_details()
    engine.resize_tensor_input(given["index"], x.shape)
    engine.allocate_tensors()
    engine.set_tensor(given["index"], x)
    engine.invoke()
    np.testing.assert_array_equal(engine.get_tensor(wanted["index"]), model.predict(x, verbose=0))


# Layers that came later.


@TARGETS
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda y: K.LayerNormalization()(y), (5, 5, 4)),
        (lambda y: K.LayerNormalization(axis=(1, 2, 3), center=False)(y), (5, 5, 4)),
        (lambda y: K.GroupNormalization(2)(y), (5, 5, 4)),
        (lambda y: K.GroupNormalization(-1, scale=False)(y), (5, 5, 4)),
        (lambda y: K.Activation("gelu")(y), (5, 5, 4)),
        (lambda y: K.ZeroPadding1D(2)(y), (6, 4)),
        (lambda y: K.Cropping1D((1, 2))(y), (6, 4)),
        (lambda y: K.UpSampling1D(3)(y), (6, 4)),
        (lambda y: K.RepeatVector(3)(K.Flatten()(y)), (6, 4)),
    ],
)
def test_layers_that_are_float(make, shape, target, rng):
    inputs = keras.Input(shape)
    y = make(inputs)
    sign = layers.SelfBinarizingActivation()(K.Flatten()(inputs))
    model = hard(inputs, [y, sign], rng)
    converted = keras_sbn.convert(model, target)
    x = images(rng, shape, 4)
    received, expected = run_everywhere(converted, x, 1e-3)[0], model.predict(x, verbose=0)[0]
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3)


def test_every_class_of_the_registry_is_one_of_keras_or_of_the_fold():
    assert all(kind.__module__.startswith(("keras.", "keras_sbn.")) for kind in LOWERINGS)


@pytest.mark.parametrize(
    ("refused", "target", "message", "remedy", "way_out"),
    [
        (
            lambda y: layers.SelfBinarizingConv2D(8, 3, groups=4, name="own")(y),
            "lce",
            "or target='tflite'",
            lambda y: layers.SelfBinarizingConv2D(8, 3, groups=4)(y),
            "tflite",
        ),
        (
            lambda y: layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=0.5, name="own")(y),
            "lce",
            r"pad_value=1\.0",
            lambda y: layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=1.0)(y),
            "lce",
        ),
        (
            lambda y: layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=0.5, name="own")(y),
            "tflite",
            r"pad_value=1\.0",
            lambda y: layers.SelfBinarizingConv2D(8, 3, padding="same", pad_value=1.0)(y),
            "tflite",
        ),
        (
            lambda y: layers.SelfBinarizingConv2DTranspose(8, 3, strides=2, name="own")(y),
            "lce",
            "target='tflite' has one",
            lambda y: layers.SelfBinarizingConv2DTranspose(8, 3, strides=2)(y),
            "tflite",
        ),
        (
            lambda y: layers.SelfBinarizingDepthwiseConv2D(3, name="own")(y),
            "lce",
            "or target='tflite'",
            lambda y: layers.SelfBinarizingDepthwiseConv2D(3)(y),
            "tflite",
        ),
        (
            lambda y: K.Softmax(axis=1, name="own")(y),
            "tflite",
            "Permute",
            lambda y: K.Permute((3, 2, 1))(K.Softmax()(K.Permute((3, 2, 1))(y))),
            "tflite",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_remedies_of_errors_help(refused, target, message, remedy, way_out, rng):
    def network(make):
        inputs = keras.Input((6, 6, 16))
        return hard(inputs, make(layers.SelfBinarizingActivation()(inputs)), rng)

    with pytest.raises(ValueError, match=rf"(?s)'own.*{message}"):
        keras_sbn.convert(network(refused), target)
    check(network(remedy), images(rng, (6, 6, 16), 4), way_out, 1e-4)


@TARGETS
def test_looking_for_the_layer_to_name_takes_no_longer_where_paths_join(target, rng):
    """Forty sums of a value with itself have 2^40 paths, and 600 in a row are deeper than the stack."""
    inputs = y = keras.Input((4, 4, 3))
    for _ in range(40):
        y = K.Add()([y, y]) * 0.5
    for _ in range(600):
        y = K.Add()([y, inputs])
    z = layers.SelfBinarizingConv2D(4, 3, name="first")(y)
    sign = layers.SelfBinarizingActivation()(y)
    model = hard(inputs, [z, sign], rng)
    converted = keras_sbn.convert(model, target)
    assert {row.name for row in converted.report.layers} >= {"first"}
