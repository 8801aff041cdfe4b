"""What has no counterpart in a file: the error names the layer, and what is expected in its place."""

import importlib

import keras
import numpy as np
import pytest
from conftest import digit_network, images, needs_new_litert

import keras_sbn
from keras_sbn import layers

K = keras.layers
ops = keras.ops
TARGETS = pytest.mark.parametrize("target", ["lce", "tflite"])


def _model(layer, shape=(6, 6, 4)):
    inputs = keras.Input(shape)
    # A sign behind it: binary networks alone can be made hard.
    x = layer(inputs)
    x = layers.SelfBinarizingActivation()(x)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    return model


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            K.UnitNormalization(name="unit"),
            r"a layer that converts\. .*UnitNormalization 'unit'.*Replace it",
        ),
        (
            K.Conv2D(4, 3, activation="selu", name="conv"),
            r"relu6, .*Received: 'conv' with activation='selu'",
        ),
        (K.Dense(4, activation="mish", name="dense"), r"'dense' with activation='mish'"),
        (
            K.ReLU(max_value=2.0, negative_slope=0.1, name="relu"),
            r"a ReLU of threshold 0 .*Received: 'relu' with max_value=2\.0, negative_slope=0\.1",
        ),
        (K.ReLU(threshold=1.0, name="relu"), r"'relu' with .*threshold=1\.0"),
        (K.Softmax(axis=1, name="soft"), r"a softmax over the last axis\. Received: 'soft' with axis=1"),
        (K.ELU(alpha=0.5, name="elu"), r"an ELU of alpha 1\. Received: 'elu', alpha=0\.5"),
        (
            K.UpSampling2D(interpolation="bicubic", name="up"),
            r"upsampling that repeats values\. Received: 'up' with interpolation='bicubic'",
        ),
        (
            K.MaxPooling2D(data_format="channels_first", name="pool"),
            r"channels last, the only order.*Received: 'pool' with data_format='channels_first'",
        ),
        (
            K.Cropping2D(1, data_format="channels_first", name="crop"),
            r"channels last, the only order.*Received: 'crop' with data_format='channels_first'",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@TARGETS
def test_float_layers(layer, message, target):
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(_model(layer), target)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (ops.cumsum, r"an operation that converts\. Received: Cumsum 'cumsum.*These do: .*Replace it"),
        (lambda x: ops.sum(x, axis=0), r"the samples of a batch apart\. Received: Sum 'sum"),
        (
            lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect"),
            r"padding with a constant and two widths an axis\. Received: 'pad.*mode='reflect'",
        ),
        (lambda x: ops.top_k(x, 2)[0], r"an operation that converts\. Received: TopK 'top_?k"),
        (
            lambda x: ops.softmax(x, axis=None),
            r"a softmax over the last axis\. Received: 'softmax.* with axis=None\. Transpose its input",
        ),
        (
            lambda x: x[::-1, 0],
            r"indices that keep the batch\. Received: 'get_item.*slice\(None, None, -1\)\. Begin with",
        ),
        (lambda x: x[1:, 0], r"the samples of a batch apart\. Received: GetItem 'get_item"),
        (lambda x: x[0], r"the samples of a batch apart\. Received: GetItem 'get_item"),
        (ops.flip, r"axes of a sample\. Received: 'flip.*Give the axes of a sample"),
        (
            lambda x: ops.swapaxes(x, 0, 1),
            r"the samples of a batch apart\. Received: Swapaxes 'swapaxes",
        ),
    ],
    ids=["cumsum", "sum", "pad", "top_k", "softmax", "backwards", "slice", "index", "flip", "swapaxes"],
)
@TARGETS
def test_operations(function, message, target):
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(_model(function), target)


@TARGETS
@pytest.mark.parametrize("binarize_input", [True, False])
def test_a_binary_convolution_in_three_dimensions(binarize_input, target):
    """A binary one has a reason and a way out, a first one and the fallback the list of what converts."""
    layer = layers.SelfBinarizingConv3D(2, 3, binarize_input=binarize_input, name="volume")
    model = _model(layer, (4, 4, 4, 3))
    converts = (
        r"Expected a layer that converts\. Received: BinaryConv3D .volume.\. .*no kernels over three"
    )
    binary = r"a layer with a binary kernel: .*Received: 'volume', BinaryConv3D\. The way out: a two-dim"
    with pytest.raises(ValueError, match=binary if binarize_input else converts):
        keras_sbn.convert(model, target)
    with pytest.raises(ValueError, match=converts):
        keras_sbn.convert(model, target, allow_float_fallback=True)


@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_borders_that_differ_from_channel_to_channel_of_an_image(activations, rng):
    """Padding with 1 in the units of each channel is another pixel in each."""
    inputs = keras.Input((6, 6, 2), dtype="uint8")
    x = K.Rescaling(1 / 255, offset=[0.0, -1.0])(inputs)
    x = layers.SelfBinarizingConv2D(4, 3, padding="same", name="first")(x)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    image = rng.integers(0, 256, (4, 6, 6, 2)).astype("uint8")
    data = {"representative_data": image} if activations == "int8" else {}
    message = (
        r"one padding value for all channels\. Received: 'first' padded with \[255\.0, 510\.0\]\. Scale"
    )
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(model, activations=activations, **data)


def test_values_that_are_not_finite(rng):
    """The representative data are finite, what the layer makes of them is not."""
    model = _model(K.Conv2D(4, 1, name="conv"))
    x = np.full((2, 6, 6, 4), 3e38, "float32")
    model.get_layer("conv").kernel.assign(np.full((1, 1, 4, 4), 4.0))
    with pytest.raises(
        ValueError, match=r"Expected finite values\. Received: NaN or infinity from 'conv'"
    ):
        keras_sbn.convert(model, activations="int8", representative_data=x)


def test_images_of_an_unknown_number_of_channels():
    inputs = keras.Input((6, 6, None))
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(inputs))
    keras_sbn.binarize(model)
    with pytest.raises(
        ValueError, match=r"Expected images with a known number of channels\. Received: in"
    ):
        keras_sbn.fold(model, input_scaling=(1 / 255, 0))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"target": "micro"}, r"or pip install 'keras-sbn\[micro\]'\."),
        # The schema with int2 comes with it.
        pytest.param(
            {"target": "tflite", "weight_bits": 2},
            "or give another `weight_bits`.",
            marks=needs_new_litert,
        ),
    ],
)
def test_a_runtime_that_is_older_than_the_file(options, remedy, monkeypatch, rng):
    module = importlib.import_module("keras_sbn.conversion.convert")
    monkeypatch.setattr(module, "can_open", lambda *arguments: "no kernel")
    model = digit_network()
    keras_sbn.binarize(model)
    if options["target"] == "micro":
        options = {**options, "representative_data": images(rng, (7, 6, 2))}
    message = f"Received: no kernel. The file needs LiteRT .* or later: pip install .*, {remedy}"
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(model, **options)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.reshape(x, (-1, 4)),
        lambda x: ops.reshape(layers.SelfBinarizingDense(3)(ops.reshape(x, (-1, 4))), (-1, 6, 6, 3)),
        lambda x: ops.reshape(x, (-1,)),
        lambda x: ops.concatenate([x, x], axis=0),
        lambda x: keras.layers.Concatenate(axis=0)([x, x]),
        lambda x: ops.split(x, 2, axis=0)[0],
        lambda x: ops.max(x, axis=0, keepdims=True),
        ops.mean,
    ],
    ids=["reshape", "and back", "flat", "concatenate", "Concatenate", "split", "max", "mean"],
)
@pytest.mark.parametrize("samples", [None, 2])
@TARGETS
def test_operations_on_the_batch(function, samples, target):
    """A file computes one sample: another number of them between its layers would be no error there."""
    inputs = keras.Input(batch_shape=(samples, 6, 6, 4))
    model = keras.Model(inputs, function(layers.SelfBinarizingActivation()(inputs)))
    keras_sbn.binarize(model)
    with pytest.raises(ValueError, match=r"the samples of a batch apart\. Received: .*Reshape in place"):
        keras_sbn.convert(model, target)


@TARGETS
def test_the_same_on_the_axes_of_a_sample(target, rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingActivation()(inputs)
    x = keras.layers.Reshape((9, 16))(x)
    x = ops.concatenate([ops.max(x, axis=1, keepdims=True), *ops.split(x, 3, axis=1)], axis=1)
    model = keras.Model(inputs, layers.SelfBinarizingDense(3)(x))
    keras_sbn.binarize(model)
    x = images(rng, (6, 6, 4), 5)
    received = keras_sbn.convert(model, target).predict(x)
    np.testing.assert_array_equal(received, model.predict(x, verbose=0))


@pytest.mark.once
@pytest.mark.parametrize("function", [lambda x: ops.argmax(x, axis=-1), lambda x: x > 0])
def test_integers_made_of_floats_are_refused_for_what_they_are(function):
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="Expected an operation that converts") as error:
        keras_sbn.convert(keras.Model(inputs, function(inputs)))
    assert "wraps around" not in str(error.value)
