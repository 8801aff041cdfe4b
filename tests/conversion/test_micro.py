"""Files of integers alone: every sign the model's, in TensorFlow Lite Micro and in LiteRT."""

import os
import re
import shutil
from collections import Counter

import keras
import numpy as np
import pytest
from conftest import activate, images, needs_new_litert, randomize
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, made_or_none

import keras_sbn
from keras_sbn import layers, models
from keras_sbn.tflite.interpreter import TfliteInterpreter
from keras_sbn.tflite.micro import MicroInterpreter, has_micro
from keras_sbn.tflite.reader import read_file

pytestmark = needs_new_litert
K = keras.layers
#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "8"))
in_micro = pytest.mark.skipif(not has_micro(), reason="tflite-micro is not installed")


def _outputs(converted, x, others=()):
    """What the file gives, the same in TensorFlow Lite Micro, where it is installed, and in LiteRT."""
    received = converted.predict(x)
    np.testing.assert_array_equal(converted.predict(x, xnnpack=False), received)
    if has_micro():
        assert converted.runtime == "TensorFlow Lite Micro"
    types = {tensor.dtype for tensor in read_file(converted.content).tensors}
    assert types <= {"int8", "int16", "int32", "int64", "uint8", *others}
    return received


def _expected(model, x):
    return keras.ops.convert_to_numpy(model(x))


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _image_network(rng):
    """TinyConv without its last normalization, so that its outputs are sums, of 8-bit images."""
    model = _hard(models.TinyConv((8, 8, 1), alpha=1 / 4, classifier_activation=None), rng)
    sums = keras.Model(model.input, model.get_layer("classifier").output)
    return keras_sbn.fold(sums, input_scaling=(1 / 16, 0.0)), rng.integers(0, 17, (12, 8, 8, 1), "uint8")


def _binary_net(rng):
    model = _hard(models.BinaryNet((16, 16, 3), alpha=1 / 16, classifier_activation=None), rng)
    sums = keras.Model(model.input, model.get_layer("classifier").output)
    return keras_sbn.fold(sums, input_scaling=(1 / 255, 0.0)), rng.integers(
        0, 256, (4, 16, 16, 3), "uint8"
    )


def _steps_network(rng):
    inputs = x = keras.Input((12, 3))
    for filters, padding in ((8, "same"), (8, "causal")):
        x = activate(layers.SelfBinarizingConv1D(filters, 3, padding=padding)(x))
    outputs = layers.SelfBinarizingDense(4)(K.Flatten()(x))
    return _hard(keras.Model(inputs, outputs), rng), images(rng, (12, 3), 12)


@pytest.mark.parametrize("network", [_image_network, _binary_net, _steps_network])
def test_every_sum_is_the_models(network, rng):
    model, x = network(rng)
    converted = keras_sbn.convert(model, "micro", representative_data=x)
    np.testing.assert_array_equal(_outputs(converted, x), _expected(model, x))


def _mean_of_signs(rng):
    x = inputs = keras.Input((6, 6, 2))
    x = K.AveragePooling2D(2)(activate(x))
    return keras_sbn.fold(_hard(keras.Model(inputs, x), rng)), images(rng, (6, 6, 2), 8)


def test_means_of_signs_have_the_range_of_signs(rng):
    model, x = _mean_of_signs(rng)
    converted = keras_sbn.convert(model, "micro", representative_data=x, allow_rounded_signs=True)
    np.testing.assert_array_equal(_outputs(converted, x), _expected(model, x))


def _on_a_grid(model, rng):
    """Gives float layers weights of which int16 holds every product and sum."""
    for layer in model.layers:
        if isinstance(layer, K.BatchNormalization):
            layer.gamma.assign(rng.choice([-0.5, 0.5], layer.gamma.shape)) if layer.scale else None
            layer.beta.assign(rng.choice([-0.25, 0.0, 0.5], layer.beta.shape)) if layer.center else None
            layer.moving_mean.assign(rng.integers(-2, 3, layer.moving_mean.shape))
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, 16 - layer.epsilon))
        elif layer.name.endswith(("_blur", "average")) or not layer.weights:
            continue
        elif isinstance(layer, K.Conv2D | K.DepthwiseConv2D | K.Dense):
            for weight in layer.weights:
                if not weight.name.endswith("_sharpness"):
                    weight.assign(rng.choice([-1.0, 0.0, 0.0, 0.5], weight.shape))
    keras_sbn.binarize(model)


@pytest.mark.tensorflow
def test_a_residual_network_on_a_grid_is_exact(rng):
    """QuickNetSmall: float layers, residuals, blurs, ReLUs of sums, with values that int16 holds."""
    model = models.QuickNetSmall((32, 32, 3), alpha=1 / 32, classes=4, classifier_activation=None)
    _on_a_grid(model, rng)
    # Signs are taken of values up to here: what follows is averaged.
    model = keras.Model(model.input, model.get_layer("transition_2_relu").output)
    x = rng.integers(0, 2, (4, 32, 32, 3)).astype("float32")
    converted = keras_sbn.convert(model, "micro", representative_data=x, allow_rounded_signs=True)
    np.testing.assert_array_equal(_outputs(converted, x), _expected(model, x))


def _residual(rng, normalized):
    """The first sign reads a sum of ±1; the second the sum of two such sums, normalized or not."""
    inputs = keras.Input((6, 6, 2))
    x = activate(layers.SelfBinarizingConv2D(4, 3, padding="same")(inputs))
    parts = [layers.SelfBinarizingConv2D(4, 3, padding="same")(x) for _ in range(2)]
    if normalized:
        parts = [K.BatchNormalization()(part) for part in parts]
    x = K.Subtract()([K.Add()(parts), x])
    x = layers.SelfBinarizingActivation(name="of_residual")(x)
    outputs = layers.SelfBinarizingDense(3)(K.Flatten()(x))
    return _hard(keras.Model(inputs, outputs), rng), images(rng, (6, 6, 2), 64)


@pytest.mark.tensorflow
def test_a_sign_of_rounded_numbers_is_refused_with_ways_out(rng):
    model, samples = _residual(rng, normalized=True)
    with pytest.raises(
        ValueError, match=r"Received: 'of_residual', which take signs of numbers"
    ) as error:
        keras_sbn.convert(model, "micro", representative_data=samples)
    for advice in ("target='c'", "'tflite'", "allow_rounded_signs=True", "keras_sbn.verify"):
        assert advice in str(error.value)
    assert keras_sbn.verify(keras_sbn.convert(model, "tflite"), model, samples)
    if shutil.which("gcc"):
        assert keras_sbn.verify(keras_sbn.convert(model, "c"), model, samples)
    converted = keras_sbn.convert(model, "micro", representative_data=samples, allow_rounded_signs=True)
    assert keras_sbn.verify(converted, model, samples).agreement > 0.9
    (row,) = [row for row in converted.report.layers if row.name == "of_residual"]
    assert re.search(r"the sign of real values; int16 holds them in steps of 0\.\d+$", row.reason)


@pytest.mark.tensorflow
def test_a_sign_of_sums_of_sums_is_exact(rng):
    model, samples = _residual(rng, normalized=False)
    converted = keras_sbn.convert(model, "micro", representative_data=samples[:2])
    np.testing.assert_array_equal(_outputs(converted, samples), _expected(model, samples))


@pytest.mark.tensorflow
def test_moved_inputs_and_sums_of_sums_keep_their_signs(rng):
    a, b = keras.Input((5, 4, 2)), keras.Input((5, 4, 2))
    x = K.Concatenate()([K.MaxPooling2D(2)(a), K.Cropping2D(((1, 2), (0, 2)))(b)])
    x = K.Flatten()(x)
    sums = [layers.SelfBinarizingDense(6, binarize_input=True)(x) for _ in range(3)]
    x = layers.SelfBinarizingActivation()(K.Maximum()([K.Add()(sums[:2]), sums[2]]))
    model = _hard(keras.Model([a, b], layers.SelfBinarizingDense(3)(x)), rng)
    data = [images(rng, (5, 4, 2), 16) for _ in range(2)]
    converted = keras_sbn.convert(model, "micro", representative_data=data)
    np.testing.assert_array_equal(_outputs(converted, data), _expected(model, data))


@pytest.mark.tensorflow
def test_real_values_are_off_by_steps_that_the_report_names(rng):
    inputs = keras.Input((6, 6, 2))
    x = K.Conv2D(4, 3, activation="relu")(inputs)
    x = K.BatchNormalization(name="real")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    samples = images(rng, (6, 6, 2), 16)
    converted = keras_sbn.convert(model, "micro", representative_data=samples)
    (step,) = [tensor.scale for tensor in converted.report.outputs]
    assert any(f"in steps of {step:.3g}" in row.reason for row in converted.report.layers)
    # Runtimes round in other ways, a step apart.
    off = np.abs(converted.predict(samples) - _expected(model, samples))
    stock = converted.predict(samples, xnnpack=False)
    np.testing.assert_allclose(converted.predict(samples), stock, rtol=0, atol=step)
    assert 0 < off.max() <= 16 * step
    assert step <= np.abs(_expected(model, samples)).max() / 2**12


@pytest.mark.tensorflow
def test_random_networks_compute_what_the_folded_model_does_or_name_a_layer():
    seen = Counter()

    @drawing(NETWORKS)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        seen["drawn"] += 1
        folded = made_or_none(lambda: keras_sbn.fold(model), model)
        if folded is None:
            return
        seen["networks"] += 1
        # As tests/conversion/test_random_networks.py has it.
        outputs = keras.tree.flatten(folded(x, training=False))
        expected = [keras.ops.convert_to_numpy(output) for output in outputs]
        exact = True

        def convert(**options):
            return keras_sbn.convert(folded, "micro", representative_data=x, **options)

        def converted_or_refused():
            nonlocal exact
            try:
                return convert()
            except ValueError as error:
                exact = "signs of numbers that integers" not in str(error)
                if exact:
                    raise
                return convert(allow_rounded_signs=True)

        converted = made_or_none(converted_or_refused, model)
        if converted is None:
            return
        seen["run"] += 1
        seen["exact"] += exact
        received = converted.predict(x)
        received = received if isinstance(received, list) else [received]
        for a, b, output in zip(received, expected, converted.report.outputs, strict=True):
            if exact and (b == np.round(b)).all():  # Sums: every sign before them is the model's.
                np.testing.assert_array_equal(a, b)
            scaled = np.abs(b).max(initial=0.0) * 1e-4
            np.testing.assert_allclose(a, b, rtol=0, atol=min(4 * output.scale, 0.9) + scaled)
        keras.utils.clear_session()

    check()
    assert seen["networks"] >= 0.5 * seen["drawn"]
    assert seen["run"] >= 0.4 * seen["networks"]
    assert 0 < seen["exact"] <= seen["run"]


@pytest.mark.tensorflow
def test_a_threshold_at_each_place_of_both_directions(rng):
    inputs = keras.Input((4, 4, 2))
    x = layers.SelfBinarizingConv2D(3, 3, padding="same")(layers.SelfBinarizingActivation()(inputs))
    places = rng.integers(-9, 10, (4, 4, 3)) / 2
    x = K.Normalization((1, 2, 3), mean=places, variance=np.ones((4, 4, 3)))(x)
    x = K.BatchNormalization()(x)
    outputs = layers.SelfBinarizingDense(3)(K.Flatten()(layers.SelfBinarizingActivation()(x)))
    model = _hard(keras.Model(inputs, outputs), rng)
    samples = images(rng, (4, 4, 2), 16)
    converted = keras_sbn.convert(model, "micro", representative_data=samples)
    np.testing.assert_array_equal(_outputs(converted, samples), _expected(model, samples))


def _padded_network(rng, pad):
    inputs = keras.Input((5, 5, 2))
    x = activate(layers.SelfBinarizingConv2D(4, 3, padding="same", pad_value=pad, name="first")(inputs))
    return _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)


def test_padding_that_int8_does_not_hold_is_int16(rng):
    """An image in [0, 1] has no -1 in int8."""
    model, x = _padded_network(rng, -1.0), rng.integers(0, 17, (8, 5, 5, 2)).astype("float32") / 16
    converted = keras_sbn.convert(model, "micro", representative_data=x)
    rows = {row.name: row for row in converted.report.layers}
    assert rows["first"].output_type == "int16"
    np.testing.assert_array_equal(_outputs(converted, x), _expected(model, x))


def test_padding_between_the_steps_of_the_input_is_refused(rng):
    model = _padded_network(rng, 1.0)
    x = rng.integers(0, 3, (8, 5, 5, 2)).astype("float32") * 0.75
    with pytest.raises(ValueError, match=r"'first' to pad .* multiple of 0\.75\. Received: \[1\.0\]"):
        keras_sbn.convert(model, "micro", representative_data=x)
    zeros = keras_sbn.convert(_padded_network(rng, 0.0), "micro", representative_data=x)
    assert zeros.report.float_macs == 0
    assert keras_sbn.convert(model, "tflite").report.layers


def test_kernels_in_four_bits_give_the_same_in_half_the_bytes(rng):
    model, x = _image_network(rng)
    whole, half = (keras_sbn.convert(model, "micro", weight_bits=bits) for bits in (8, 4))
    np.testing.assert_array_equal(_outputs(half, x, ["int4"]), _outputs(whole, x))
    rows = zip(whole.report.layers, half.report.layers, strict=True)
    assert [a.name for a, b in rows if a.kernel_bytes == 2 * b.kernel_bytes > 0] == [
        "conv_2",
        "conv_3",
        "dense_1",
    ]


@in_micro
def test_the_report_has_the_arena_that_the_interpreter_takes(rng):
    model, _ = _image_network(rng)
    report = keras_sbn.convert(model, "micro").report
    measured = MicroInterpreter(keras_sbn.convert(model, "micro").content).arena_bytes()
    assert report.arena_bytes == measured > report.ram_bytes
    rows = {row.name: row for row in report.layers}
    assert rows["conv_2"].ram_bytes == 8 * 8 * (8 + 16)
    assert report.ram_bytes == max(row.ram_bytes for row in report.layers)
    assert f"arena of {measured:,} bytes" in str(report)
    assert "RAM" in str(report).splitlines()[0]


def test_an_int8_output_is_rounded(rng):
    model, x = _image_network(rng)
    converted = keras_sbn.convert(model, "micro", representative_data=x, output_type="int8")
    (output,) = converted.report.outputs
    assert output.dtype == "int8"
    received = converted.predict(x)
    np.testing.assert_allclose(received, _expected(model, x), rtol=0, atol=0.5 * output.scale + 1e-6)


def test_the_portable_runtimes_agree_on_the_demo(rng):
    """The outputs of the network of the demo, real numbers, are within a step of the model's."""
    model = _hard(models.TinyConv((8, 8, 1), alpha=1 / 4, classifier_activation=None), rng)
    folded = keras_sbn.fold(model, input_scaling=(1 / 16, 0.0))
    x = rng.integers(0, 17, (12, 8, 8, 1), "uint8")
    converted = keras_sbn.convert(folded, "micro")
    received, expected = _outputs(converted, x), _expected(folded, x)
    (output,) = converted.report.outputs
    assert output.dtype == "int16"
    np.testing.assert_allclose(received, expected, rtol=0, atol=output.scale)
    np.testing.assert_array_equal(received.argmax(-1), expected.argmax(-1))
    stock = TfliteInterpreter(converted.content).predict([x])[0]
    np.testing.assert_array_equal(stock, received)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_type": "float32"}, "no float32"),
        ({"input_type": "float32"}, "no float32"),
        ({"weight_bits": 2}, r"one of \[8, 4\]"),
    ],
)
def test_what_integers_do_not_have_is_refused(options, message, rng):
    model, _ = _image_network(rng)
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(model, "micro", **options)


@pytest.mark.parametrize("fallback", [True, False])
def test_a_layer_that_needs_floats_is_named(fallback, rng):
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, K.ELU(name="curved")(K.Conv2D(2, 3)(inputs)))
    x = images(rng, (4, 4, 2), 4)
    with pytest.raises(ValueError, match=r"'curved'.*target='tflite'"):
        keras_sbn.convert(model, "micro", representative_data=x, allow_float_fallback=fallback)
    assert keras_sbn.convert(model, "tflite").predict(x).shape == (4, 2, 2, 2)


def test_int16_outputs_are_of_micro_alone(rng):
    model, _ = _image_network(rng)
    with pytest.raises(ValueError, match="target='micro' alone"):
        keras_sbn.convert(model, "tflite", output_type="int16")
