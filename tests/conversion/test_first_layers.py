"""First layers that read the input in another shape, or prepared by layers without a product."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import activate, first_differing_layer, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter
from keras_sbn.tflite.reader import read_file

K = keras.layers
TARGETS = pytest.mark.parametrize("target", ["lce", "tflite"])


def _network(rng, inputs, before, first):
    """`before`, the first layer, a threshold, and a second layer whose sums are the output."""
    x = inputs
    for layer in before:
        x = layer(x)
    x = activate(first(x), K.BatchNormalization)
    last = layers.SelfBinarizingDense if len(x.shape) == 2 else layers.SelfBinarizingConv2D
    if len(x.shape) == 3:
        last = layers.SelfBinarizingConv1D
    options = {} if len(x.shape) == 2 else {"kernel_size": 2}
    model = keras.Model(inputs, last(5, **options, name="second")(x))
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _conv1d(**options):
    return layers.SelfBinarizingConv1D(34, 3, name="first", **options)


def _conv2d(**options):
    return layers.SelfBinarizingConv2D(34, 3, name="first", **options)


def _dense():
    return layers.SelfBinarizingDense(34, name="first")


def _runs(converted, x):
    """The outputs of the file in every interpreter that can run it."""
    content = converted.content
    runs = [LceInterpreter(content, xnnpack=on).predict([x])[0] for on in (False, True)]
    if converted.target == "tflite":
        runs += [TfliteInterpreter(content, xnnpack=on).predict([x])[0] for on in (False, True)]
    return runs


def _quarters(x):
    return x * 0.25


#: Shape of the input, and what makes the layers before the first layer, and the first layer.
_FLOAT = {
    "steps": ((9, 3), lambda: ([], _conv1d(padding="same"))),
    "strided steps": ((9, 3), lambda: ([], _conv1d(strides=2))),
    "causal steps": ((9, 3), lambda: ([], _conv1d(padding="causal", dilation_rate=2))),
    "rescaled steps": (
        (9, 3),
        lambda: ([K.Rescaling(0.5, 0.25)], _conv1d(padding="same", pad_value=0.0)),
    ),
    "reshaped": ((6, 5), lambda: ([K.Reshape((6, 5, 1))], _conv2d(padding="same"))),
    "rescaled": ((6, 5, 3), lambda: ([K.Rescaling(0.5)], _conv2d())),
    "normalized": (
        (6, 5, 3),
        lambda: ([K.Normalization(mean=[0.5] * 3, variance=[0.25] * 3)], _conv2d()),
    ),
    "an operation": ((6, 5, 3), lambda: ([_quarters], _conv2d())),
    "padded": ((6, 5, 3), lambda: ([K.ZeroPadding2D()], _conv2d())),
    "flattened": ((6, 5), lambda: ([K.Flatten()], _dense())),
}


@TARGETS
@pytest.mark.parametrize("case", _FLOAT)
def test_float_first_layers(case, target, rng):
    shape, make = _FLOAT[case]
    model = _network(rng, keras.Input(shape), *make())
    x = images(rng, shape, 32)
    expected = model.predict_on_batch(x)
    converted = keras_sbn.convert(model, target)
    for received in _runs(converted, x):
        np.testing.assert_array_equal(received, expected)
    rows = {row.name: row for row in converted.report.layers}
    assert (rows["first"].kind, rows["first"].reason) == ("float", "its input is real-valued")
    assert rows["second"].kind == "binary"
    assert first_differing_layer(converted.content, target, model, [x]) is None


def test_batch_normalization_of_the_input(rng):
    inputs = keras.Input((6, 5, 3))
    model = _network(rng, inputs, [K.BatchNormalization()], _conv2d())
    x = images(rng, (6, 5, 3), 32)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(model, target)
        assert keras_sbn.verify(converted, model, x)


#: The same for 8-bit inputs.
_INTEGER = {
    "steps": ((9, 3), lambda: ([K.Rescaling(1 / 255)], _conv1d(padding="same", pad_value=0.0))),
    "strided steps": ((9, 3), lambda: ([K.Rescaling(1 / 127.5, -1)], _conv1d(strides=2))),
    "dilated steps": ((9, 3), lambda: ([K.Rescaling(1 / 255)], _conv1d(dilation_rate=2))),
    "reshaped, then rescaled": (
        (6, 5),
        lambda: ([K.Reshape((6, 5, 1)), K.Rescaling(1 / 255)], _conv2d()),
    ),
    "rescaled, then reshaped": (
        (6, 5),
        lambda: ([K.Rescaling(1 / 255), K.Reshape((6, 5, 1))], _conv2d(padding="same", pad_value=0.0)),
    ),
    "rows, then rescaled": (
        (30, 3),
        lambda: ([K.Reshape((6, 5, 3)), K.Rescaling(1 / 255)], _conv2d()),
    ),
    "flattened": ((6, 5), lambda: ([K.Rescaling(1 / 255), K.Flatten()], _dense())),
    "a flattened map": ((6, 5, 3), lambda: ([K.Rescaling(1 / 255), K.Flatten()], _dense())),
}


@TARGETS
@pytest.mark.parametrize("case", _INTEGER)
def test_integer_first_layers(case, target, rng):
    shape, make = _INTEGER[case]
    folded = keras_sbn.fold(_network(rng, keras.Input(shape, dtype="uint8"), *make()))
    converted = keras_sbn.convert(folded, target)
    info = read_file(converted.content)
    assert [(t.dtype, t.shape) for t in info.inputs] == [("uint8", (1, *shape))]
    # Bytes are reshaped, then they are integers up to the first sign: no float32 before it.
    at = [op.name for op in info.operators].index("CONV_2D")
    assert {op.name for op in info.operators[:at]} <= {"RESHAPE", "QUANTIZE"}
    assert info.operators[at].outputs[0].dtype == "int8"
    rows = {row.name: row for row in converted.report.layers}
    assert rows["first"].reason == "it reads the 8-bit image, in integer arithmetic"
    assert (rows["first"].kind, rows["first"].float_macs) == ("int8", 0)
    x = rng.integers(0, 256, (32, *shape)).astype("uint8")
    expected = folded.predict_on_batch(x)
    for received in _runs(converted, x):
        np.testing.assert_array_equal(received, expected)
    assert keras_sbn.verify(converted, folded, x)
    assert first_differing_layer(converted.content, target, folded, [x]) is None


@TARGETS
@pytest.mark.parametrize("input_type", ["int8", "float32"])
@pytest.mark.parametrize("activations", ["float32", "int8"])
def test_other_types_of_the_input(activations, input_type, target, rng):
    """Reshaped where they are, and the same integers in the first layer."""
    shape, make = _INTEGER["rescaled, then reshaped"]
    folded = keras_sbn.fold(_network(rng, keras.Input(shape, dtype="uint8"), *make()))
    x = rng.integers(0, 256, (32, *shape)).astype("uint8")
    data = {"activations": activations, "representative_data": x}
    converted = keras_sbn.convert(folded, target, input_type=input_type, **data)
    operators = [op.name for op in read_file(converted.content).operators]
    assert operators[: operators.index("CONV_2D")].count("RESHAPE") == 1
    rows = {row.name: row for row in converted.report.layers}
    assert rows["first"].kind == "int8"
    assert keras_sbn.verify(converted, folded, x)


@TARGETS
@pytest.mark.parametrize("shape", [(6, 5), (9, 3)])
def test_a_float_first_layer_is_quantized_behind_a_reshape(shape, target, rng):
    before = [K.Rescaling(1 / 255), K.Reshape((6, 5, 1) if shape == (6, 5) else (3, 3, 3))]
    model = _network(rng, keras.Input(shape, dtype="uint8"), before, K.Conv2D(34, 2, name="first"))
    folded = keras_sbn.fold(model, quantize_first_layer=True)
    assert type(folded.get_layer("first")).__name__ == "IntegerConv2D"
    converted = keras_sbn.convert(folded, target)
    x = rng.integers(0, 256, (32, *shape)).astype("uint8")
    for received in _runs(converted, x):
        np.testing.assert_array_equal(received, folded.predict_on_batch(x))


@TARGETS
@pytest.mark.parametrize("case", ["steps", "flattened"])
def test_an_integer_first_layer_that_differs_is_named(case, target, rng):
    """The file of the same network with another kernel in its first layer."""
    shape, make = _INTEGER[case]
    model = _network(rng, keras.Input(shape, dtype="uint8"), *make())
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.get_layer("first").kernel.assign(-other.get_layer("first").kernel)
    folded = keras_sbn.fold(model)
    threshold = next(layer.name for layer in folded.layers if type(layer).__name__ == "Threshold")
    x = rng.integers(0, 256, (32, *shape)).astype("uint8")
    converted = keras_sbn.convert(other, target)
    assert first_differing_layer(converted.content, target, folded, [x]) == threshold
    assert first_differing_layer(converted.content, target, other, [x]) is None


def test_a_product_before_is_named_through_reshapes_and_merges(rng):
    """Only what reads the input alone is a first layer."""
    inputs = keras.Input((6, 5, 3))
    stem = K.Conv2D(3, 1, name="stem")(inputs)
    merged = K.Reshape((6, 5, 3))(K.Add()([inputs, stem]))
    model = _network(rng, inputs, [lambda _: merged], _conv2d())
    with pytest.raises(ValueError, match=r"'first' to be binary.*comes from 'stem'.*binarize_input=True"):
        keras_sbn.convert(model)
    converted = keras_sbn.convert(model, allow_float_fallback=True)
    row = next(row for row in converted.report.layers if row.name == "first")
    assert row.reason == "its input is real-valued and comes from 'stem'"
    assert "SelfBinarizingActivation before 'first'" in row.remedy


def test_a_damaged_integer_layer_is_found_by_verify(rng):
    """As the command does it: from the file alone, with a bias of the first layer that is off."""
    shape, make = _INTEGER["steps"]
    folded = keras_sbn.fold(_network(rng, keras.Input(shape, dtype="uint8"), *make()))
    converted = keras_sbn.convert(folded, "tflite")
    conv = next(op for op in read_file(converted.content).operators if op.name == "CONV_2D")
    bias = conv.inputs[2].values().tobytes()
    assert converted.content.count(bias) == 1
    content = converted.content.replace(bias, np.full(34, 2**20, np.int32).tobytes())
    x = rng.integers(0, 256, (32, *shape)).astype("uint8")
    result = keras_sbn.verify(dataclasses.replace(converted, content=content), folded, x)
    assert not result
    assert result.first_differing_layer == conv.outputs[0].name
