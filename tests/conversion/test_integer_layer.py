"""First layers on 8-bit images: integers from the image to the first sign."""

import keras
import numpy as np
import pytest
from conftest import activate, randomize

import keras_sbn
from keras_sbn import cli, layers
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter
from keras_sbn.tflite.reader import read_file


def _model(rng, first, **options):
    inputs = keras.Input((9, 8, 3), name="image")
    x = activate(first(34, 3, name="first", **options)(inputs), keras.layers.BatchNormalization)
    x = layers.SelfBinarizingConv2D(5, 3, padding="same", name="second")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _images(rng):
    return rng.integers(0, 256, (16, 9, 8, 3)).astype("uint8")


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize(
    ("first", "options", "fold"),
    [
        (layers.SelfBinarizingConv2D, {"padding": "same", "pad_value": 0.0}, {}),
        (layers.SelfBinarizingConv2D, {"strides": 2}, {}),
        (keras.layers.Conv2D, {"padding": "same"}, {"quantize_first_layer": True}),
        (keras.layers.Conv2D, {"use_bias": False}, {"quantize_first_layer": True}),
    ],
)
def test_one_int8_convolution_with_thresholds(first, options, fold, target, rng):
    model = _model(rng, first, **options)
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0.0), **fold)
    converted = keras_sbn.convert(folded, target=target)
    info = read_file(converted.content)
    assert [(t.dtype, t.shape) for t in info.inputs] == [("uint8", (1, 9, 8, 3))]
    operators = [(op.name, op.outputs[0].dtype) for op in info.operators[:3]]
    assert operators[:2] == [("QUANTIZE", "int8"), ("CONV_2D", "int8")]
    if target == "lce":
        assert operators[2] == ("LceQuantize", "int32")
    rows = {row.name: row for row in converted.report.layers}
    assert rows["first"].kind == "int8"
    assert rows["first"].reason == "it reads the 8-bit image, in integer arithmetic"
    x = _images(rng)
    expected = folded.predict_on_batch(x)
    runs = [converted.predict(x), LceInterpreter(converted.content, xnnpack=True).predict([x])[0]]
    if target == "tflite":
        runs += [TfliteInterpreter(converted.content, xnnpack=on).predict([x])[0] for on in (0, 1)]
    for received in runs:
        np.testing.assert_array_equal(received, expected)
    assert keras_sbn.verify(converted, folded, x)


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_sums_that_are_read_as_numbers_and_borders_of_another_value_are_exact_as_well(target, rng):
    """A border of +1 is pixel 255 where images are scaled by 1/255: padded in float32, and exact."""
    model = _model(rng, layers.SelfBinarizingConv2D, padding="same", pad_value=1.0)
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0.0))
    x = _images(rng)
    expected = folded.predict_on_batch(x)
    np.testing.assert_array_equal(keras_sbn.convert(folded, target=target).predict(x), expected)
    inputs = keras.Input((9, 8, 3))
    alone = keras.Model(inputs, layers.SelfBinarizingConv2D(4, 3)(inputs))
    randomize(alone, rng)
    keras_sbn.binarize(alone)
    folded = keras_sbn.fold(alone, input_scaling=(1.0, 0.0))
    received = keras_sbn.convert(folded, target=target).predict(x)
    np.testing.assert_allclose(received, folded.predict_on_batch(x), rtol=1e-6)


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
def test_causal_convolutions_over_steps(pad_value, target, rng):
    inputs = keras.Input((7, 32))
    x = layers.SelfBinarizingActivation()(inputs)
    for index in range(2):
        x = layers.SelfBinarizingConv1D(
            32, 3, padding="causal", pad_value=pad_value, dilation_rate=2, name=f"conv_{index}"
        )(x)
        x = activate(x, keras.layers.BatchNormalization) if index == 0 else x
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = rng.normal(size=(8, 7, 32)).astype("float32")
    if target == "lce" and pad_value == 0:
        with pytest.raises(ValueError, match=r"'conv_0' padded with"):
            keras_sbn.convert(model)
        return
    converted = keras_sbn.convert(model, target=target)
    np.testing.assert_array_equal(converted.predict(x), model.predict_on_batch(x))
    kinds = {row.name: row.kind for row in converted.report.layers}
    assert kinds["conv_0"] == "binary"


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_depthwise_and_separable_convolutions(target, rng):
    inputs = keras.Input((6, 6, 32))
    x = layers.SelfBinarizingActivation()(inputs)
    x = activate(layers.SelfBinarizingSeparableConv2D(32, 3, padding="same", name="separable")(x))
    model = keras.Model(inputs, layers.SelfBinarizingDepthwiseConv2D(3, name="depthwise")(x))
    randomize(model, rng)
    keras_sbn.binarize(model)
    x = rng.normal(size=(8, 6, 6, 32)).astype("float32")
    if target == "lce":
        with pytest.raises(ValueError, match=r"multiples of 32.*'depthwise' with groups=32, 1 channels"):
            keras_sbn.convert(model)
    converted = keras_sbn.convert(model, target=target, allow_float_fallback=target == "lce")
    np.testing.assert_array_equal(converted.predict(x), model.predict_on_batch(x))
    kinds = {row.name: row.kind for row in converted.report.layers}
    assert kinds["separable"] == "binary"


def test_a_layer_no_target_has(rng):
    inputs = keras.Input((4, 4, 32))
    x = layers.SelfBinarizingActivation()(inputs)
    model = keras.Model(inputs, layers.SelfBinarizingConv2DTranspose(4, 3, name="up")(x))
    randomize(model, rng)
    keras_sbn.binarize(model)
    with pytest.raises(ValueError, match="'up', BinaryConv2DTranspose"):
        keras_sbn.convert(model)


def test_images_that_were_scaled_already_are_refused(rng):
    model = _model(rng, layers.SelfBinarizingConv2D)
    converted = keras_sbn.convert(keras_sbn.fold(model, input_scaling=(1 / 255, 0.0)))
    x = _images(rng)
    np.testing.assert_array_equal(converted.predict(x.astype("float32")), converted.predict(x))
    for wrong in (x / 255, x.astype("int32") - 300):
        with pytest.raises(ValueError, match="Expected inputs of uint8"):
            converted.predict(wrong)


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_the_command_verifies_with_8_bit_images(target, rng, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = _model(rng, layers.SelfBinarizingConv2D)
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0.0))
    folded.save("folded.keras")
    keras_sbn.convert(folded, target=target).save("model.tflite")
    assert cli.main(["verify", "folded.keras", "model.tflite", "--samples", "8"]) == 0
    assert "0 output values differ" in capsys.readouterr().out
