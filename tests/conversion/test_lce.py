"""Files for the Larq Compute Engine, run in its own interpreter."""

import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, randomize

import keras_sbn
from keras_sbn import bits, layers
from keras_sbn.tflite.reader import read_file


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _assert_exact(model, x):
    """The file equals the folded model bit for bit, and decides as the hard one."""
    folded = keras_sbn.fold(model)
    converted = keras_sbn.convert(folded)
    expected = folded.predict(x, verbose=0)
    if keras.backend.backend() == "jax":
        # XLA contracts the last multiplication and addition into one operation that rounds once.
        np.testing.assert_allclose(converted.predict(x), expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(converted.predict(x), expected)
    verification = keras_sbn.verify(converted, model, x)
    assert verification, str(verification)
    return converted


@pytest.mark.parametrize("seed", range(5))
def test_the_file_equals_the_model(seed):
    rng = np.random.default_rng(seed)
    model = _hard(digit_network(), rng)
    _assert_exact(model, images(rng, (7, 6, 2)))


def test_binary_layers_are_binary_operators_with_bitpacked_outputs(rng):
    converted = keras_sbn.convert(_hard(digit_network(), rng))
    operators = read_file(converted.content).operators
    assert [op.name for op in operators] == [
        "PADV2",
        "DEQUANTIZE",
        "CONV_2D",
        "SUB",
        "LceQuantize",
        "PAD",
        "LceBconv2d",
        "LceBMaxPool2d",
        "LceBconv2d",
        "LceBconv2d",
        "MUL",
        "ADD",
        "RESHAPE",
    ]
    rows = {row.name: row for row in converted.report.layers}
    assert {name: rows[name].kind for name in ("conv_1", "conv_2", "dense_1", "dense_2")} == {
        "conv_1": "float",
        "conv_2": "binary",
        "dense_1": "binary",
        "dense_2": "binary",
    }
    assert rows["conv_1"].reason == "its input is real-valued"
    assert (rows["conv_2"].input_type, rows["conv_2"].output_type) == ("bitpacked", "bitpacked")
    assert (rows["dense_1"].input_type, rows["dense_1"].output_type) == ("bitpacked", "bitpacked")
    assert (rows["dense_2"].input_type, rows["dense_2"].output_type) == ("bitpacked", "float32")


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64])
@pytest.mark.parametrize(
    ("padding", "pad_value", "strides", "dilation_rate"),
    [
        ("same", 1.0, 1, 1),
        ("same", 1.0, 2, 1),
        ("same", 1.0, 1, 2),
        ("same", 0.0, 1, 1),
        ("same", 0.0, 2, 1),
        ("same", -1.0, 1, 1),
        ("same", -1.0, 2, 1),
        ("valid", 1.0, 2, 1),
    ],
)
def test_convolutions_of_every_kind(channels, padding, pad_value, strides, dilation_rate, rng):
    inputs = keras.Input((6, 7, channels))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(
        34,
        3,
        strides=strides,
        padding=padding,
        pad_value=pad_value,
        dilation_rate=dilation_rate,
    )(x)
    x = activate(x, keras.layers.BatchNormalization)
    x = layers.SelfBinarizingConv2D(5, 1)(x)
    model = _hard(keras.Model(inputs, x), rng)
    converted = _assert_exact(model, images(rng, (6, 7, channels), samples=16))
    names = [op.name for op in read_file(converted.content).operators]
    assert names.count("LceBconv2d") == 2


def test_groups(rng):
    inputs = keras.Input((5, 5, 64))
    x = layers.SelfBinarizingActivation()(inputs)
    x = activate(layers.SelfBinarizingConv2D(8, 3, padding="same", groups=2)(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(4, 1)(x)), rng)
    _assert_exact(model, images(rng, (5, 5, 64), samples=16))


def test_channels_that_decide_nothing(rng):
    """gamma = 0, and thresholds beyond every accumulator: always +1, always -1."""
    inputs = keras.Input((32,))
    x = layers.SelfBinarizingDense(4, binarize_input=True)(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = layers.SelfBinarizingActivation()(x)
    model = keras.Model(inputs, layers.SelfBinarizingDense(2)(x))
    randomize(model, rng)
    weights = ([0, 0, 1, -1], [1, -1, 900, 900], [0, 0, 0, 0], [1, 1, 1, 1])
    model.get_layer("norm").set_weights([np.array(w, "float32") for w in weights])
    keras_sbn.binarize(model)
    _assert_exact(model, images(rng, (32,)))


def test_a_residual_network(rng):
    inputs = keras.Input((6, 6, 32))
    x = inputs
    for _ in range(2):
        y = layers.SelfBinarizingConv2D(32, 3, padding="same", binarize_input=True)(x)
        x = keras.layers.Add()([keras.layers.BatchNormalization()(y), x])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(x))
    model = _hard(keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x)), rng)
    x = images(rng, (6, 6, 32), samples=16)
    converted = keras_sbn.convert(model)
    names = [op.name for op in read_file(converted.content).operators]
    assert names.count("LceBconv2d") == 2
    np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=1e-5)


def test_float_layers(rng):
    inputs = keras.Input((9, 8, 3))
    x = keras.layers.Rescaling(0.5, offset=-0.25)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = keras.layers.ReLU(max_value=6)(keras.layers.BatchNormalization()(x))
    left = keras.layers.AveragePooling2D(2, padding="same")(x)
    right = keras.layers.MaxPooling2D(2, padding="same")(x)
    x = keras.layers.Concatenate()([left, keras.layers.Multiply()([left, right])])
    x = keras.layers.ZeroPadding2D(((1, 0), (0, 2)))(x)
    x = keras.layers.Maximum()([x, keras.layers.Conv2D(32, 1, activation="tanh")(x)])
    x = keras.layers.GlobalMaxPooling2D()(x)
    x = keras.layers.Dense(5, activation="sigmoid")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(4)(x)))
    randomize(model, rng)
    x = images(rng, (9, 8, 3), samples=8)
    converted = keras_sbn.convert(model)
    np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=1e-4)
    assert all(row.kind in ("float", "moves") for row in converted.report.layers)


def test_several_inputs_and_outputs(rng):
    a, b = keras.Input((32,), name="a"), keras.Input((32,), name="b")
    dense = layers.SelfBinarizingDense(4, binarize_input=True)
    model = _hard(keras.Model([a, b], [dense(a), dense(b)]), rng)
    converted = keras_sbn.convert(model)
    x = [images(rng, (32,)), images(rng, (32,))]
    expected = model.predict(x, verbose=0)
    for form in (x, {"a": x[0], "b": x[1]}):
        for found, wanted in zip(converted.predict(form), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert keras_sbn.verify(converted, model, x)


def test_an_empty_batch_and_a_wrong_one(rng):
    converted = keras_sbn.convert(_hard(digit_network(), rng))
    assert converted.predict(np.zeros((0, 7, 6, 2), "float32")).shape == (0, 3)
    with pytest.raises(ValueError, match=r"Expected inputs of shapes \[\('samples', 7, 6, 2\)\]"):
        converted.predict(np.zeros((2, 8, 8, 1), "float32"))


def test_a_binary_layer_on_real_values_is_an_error_that_names_it(rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingConv2D(32, 3, name="first")(inputs)
    x = layers.BinaryBatchNormalization(name="norm")(x)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(4, 3, name="second")(x)), rng)
    with pytest.raises(ValueError, match=r"Expected layer 'second' to be binary\. .* 'norm'") as error:
        keras_sbn.convert(model)
    assert "binarize_input=True" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 2}, r"multiples of 32.*'conv' with groups=2, 2 channels a group"),
        ({"padding": "same", "pad_value": 0.5}, r"'conv' padded with \[0\.5\]"),
    ],
)
def test_convolutions_the_engine_has_no_kernel_for(options, message, rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(4, 3, binarize_input=True, name="conv", **options)(inputs)
    model = _hard(keras.Model(inputs, x), rng)
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(model)


def test_a_layer_without_a_counterpart_is_an_error_that_names_it(rng):
    inputs = keras.Input((6, 6, 4))
    x = keras.layers.UnitNormalization(name="unit")(inputs)
    model = keras.Model(inputs, x)
    with pytest.raises(ValueError, match="UnitNormalization 'unit'"):
        keras_sbn.convert(model)


def test_sizes_that_are_not_fixed(rng):
    inputs = keras.Input((None, None, 4))
    x = layers.SelfBinarizingConv2D(4, 3, binarize_input=True)(inputs)
    model = _hard(keras.Model(inputs, x), rng)
    with pytest.raises(ValueError, match="Expected a model of fixed input sizes"):
        keras_sbn.convert(model)


def test_an_unknown_target(rng):
    with pytest.raises(ValueError, match="Expected `target` to be one of"):
        keras_sbn.convert(_hard(digit_network(), rng), target="coreml")


def test_bits_are_packed_lowest_first_and_minus_one_is_one():
    values = np.ones((2, 33), np.int8)
    values[0, 0] = values[0, 31] = values[1, 32] = -1
    np.testing.assert_array_equal(bits.pack(values), [[1 - 2**31, 0], [0, 1]])
    assert bits.pack(values).dtype == np.int32
