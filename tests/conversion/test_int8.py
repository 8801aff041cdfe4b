"""Files whose real-valued layers compute in int8: near the model, exact where values are integers."""

import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, needs_new_litert, randomize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.interpreter import TfliteInterpreter
from keras_sbn.tflite.reader import read_file

_TARGETS = ("lce", "tflite")


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _types(converted):
    return {t.dtype for op in read_file(converted.content).operators for t in op.outputs}


@pytest.mark.parametrize("target", _TARGETS)
def test_a_binary_network_on_multiples_of_a_step_stays_exact(target, rng):
    """The image is stored exactly, the first layer sums integers, and every sign is the model's."""
    model = _hard(digit_network(), rng)
    x = images(rng, (7, 6, 2))
    converted = keras_sbn.convert(model, target=target, activations="int8", representative_data=x)
    if target == "lce":
        np.testing.assert_array_equal(converted.predict(x), keras_sbn.fold(model).predict(x, verbose=0))
    folded = keras_sbn.fold(model)
    for name in ("conv_1", "conv_2"):
        assert {row.name: row.kind for row in converted.report.layers}[name] in ("int8", "binary")
    found = keras_sbn.verify(converted, folded, x, required_agreement=0.9)
    assert found, str(found)
    assert converted.report.float_macs == 0


def _float_network():
    """One of every layer that int8 has an operator for."""
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
    x = keras.layers.Conv2D(6, 3, groups=2, dilation_rate=2, padding="same")(x)
    x = keras.layers.Subtract()([keras.layers.Add()([x, x, x]), keras.layers.Activation("relu6")(x)])
    top = keras.layers.GlobalMaxPooling2D()(x)
    x = keras.layers.Concatenate()([top, keras.layers.GlobalAveragePooling2D()(x)])
    x = keras.layers.Dense(5, activation="sigmoid")(keras.layers.Reshape((2, 6))(x))
    x = keras.layers.Dense(4)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Softmax()(x))


def _mild(model, rng):
    """Random weights that keep values about 1."""
    for layer in model.layers:
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if weight.name == "kernel":
                weight.assign(rng.normal(size=shape) / np.sqrt(max(np.prod(shape[:-1]), 1)))
            elif weight.name == "moving_variance":
                weight.assign(rng.uniform(0.5, 2, shape))
            elif not weight.name.endswith("_sharpness"):
                weight.assign(rng.normal(size=shape) / 4 + (weight.name == "gamma"))
    return model


@pytest.mark.parametrize("target", _TARGETS)
def test_every_float_layer(target, rng):
    model = _mild(_float_network(), rng)
    x = images(rng, (9, 8, 3))
    converted = keras_sbn.convert(model, target=target, activations="int8", representative_data=x)
    assert _types(converted) == {"int8", "float32"}
    operators = read_file(converted.content).operators
    assert [op.name for op in operators if op.outputs[0].dtype == "float32"] == ["DEQUANTIZE"]
    assert operators[-1].inputs[0].scales == (1 / 256,)
    np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=0.06)
    # The same values with XNNPACK and without, but for rounding of halves.
    if target == "tflite":
        results = [TfliteInterpreter(converted.content, xnnpack=use).predict([x])[0] for use in (0, 1)]
        np.testing.assert_allclose(*results, atol=0.03)


def _residual(rng, channels=32):
    """Two blocks, a strided one with a float shortcut, and a float head."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(name="stem")(x)
    for _ in range(2):
        y = layers.SelfBinarizingConv2D(channels, 3, padding="same", binarize_input=True)(x)
        x = keras.layers.Add()([keras.layers.BatchNormalization()(y), x])
    short = keras.layers.AveragePooling2D(2)(keras.layers.ReLU()(x))
    short = keras.layers.Conv2D(2 * channels, 1)(short)
    y = layers.SelfBinarizingConv2D(2 * channels, 3, strides=2, padding="same", binarize_input=True)(x)
    x = keras.layers.Add()([short, keras.layers.BatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = _mild(keras.Model(inputs, keras.layers.Dense(5)(x)), rng)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.name != "stem":
            # Sums of 9 * channels products of ±1 have a deviation of its root.
            layer.moving_variance.assign(9 * channels * layer.moving_variance)
    keras_sbn.binarize(model)
    return model


@pytest.mark.parametrize("target", _TARGETS)
def test_a_residual_network_has_no_float_operator_inside(target, rng):
    model = _residual(rng)
    x = images(rng, (8, 8, 3), 128)
    converted = keras_sbn.convert(model, target=target, activations="int8", representative_data=x[:64])
    operators = read_file(converted.content).operators
    floats = [op.name for op in operators if op.outputs[0].dtype == "float32"]
    assert floats == ["DEQUANTIZE"]
    assert sum(op.name == "ADD" for op in operators) == 3
    # The stem's batch normalization is part of its convolution, though a sign and a sum read it.
    assert "MUL" not in {op.name for op in operators}
    stem = next(op for op in operators if op.name == "CONV_2D")
    assert stem.outputs[0].name == "stem"
    if target == "lce":
        sums = [op.outputs[0].dtype for op in operators if op.name == "LceBconv2d"]
        assert sums == ["int8"] * 3
    expected = model.predict(x, verbose=0)
    off = np.abs(converted.predict(x) - expected)
    # A value near 0 may round to the other side of it, and in a network of random weights each sign
    # that differs changes all that follows.
    assert np.median(off) < 0.06 * np.ptp(expected)
    found = keras_sbn.verify(converted, model, x, required_agreement=0.7)
    assert found
    assert found.rounding_operators > 5
    assert "operators round to integers; decisions agree on" in str(found)


@pytest.mark.parametrize("target", _TARGETS)
@pytest.mark.parametrize("activations", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_inputs_and_outputs_of_8_bits(kind, activations, target, rng):
    """The file says scale and zero point; values and stored integers give the same."""
    model = _residual(rng)
    x = images(rng, (8, 8, 3), 16)
    options = {"target": target, "activations": activations, "representative_data": x}
    converted = keras_sbn.convert(model, input_type=kind, output_type=kind, **options)
    plain = keras_sbn.convert(model, **options)
    (source,), (output,) = converted.report.inputs, converted.report.outputs
    assert (source.dtype, output.dtype) == (kind, kind)
    # Multiples of 1/8 from -2 to 2.
    assert (source.scale, source.zero_point) == (1 / 8, {"int8": -112, "uint8": 16}[kind])
    expected = plain.predict(x)
    received = converted.predict(x)
    assert received.dtype == np.float32
    if activations == "int8":
        np.testing.assert_array_equal(received, expected)
    else:
        np.testing.assert_allclose(received, expected, atol=0.51 * output.scale)
    stored = (x * 8 + source.zero_point).astype(kind)
    raw = converted.predict(stored, dequantize=False)
    assert raw.dtype == kind
    np.testing.assert_allclose(
        output.scale * (raw.astype(float) - output.zero_point), received, rtol=1e-6
    )
    assert f"{kind} (1, 8, 8, 3), scale 0.125" in str(keras_sbn.inspect(converted.content))


@pytest.mark.parametrize("target", _TARGETS)
@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_images_in_every_type(kind, target, rng):
    """A network on 8-bit images is exact whatever type its file takes them in."""
    inputs = keras.Input((9, 8, 3))
    x = activate(layers.SelfBinarizingConv2D(34, 3)(inputs), keras.layers.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(5, 3, padding="same")(x)), rng)
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0))
    x = rng.integers(0, 256, (8, 9, 8, 3)).astype("uint8")
    converted = keras_sbn.convert(folded, target=target, input_type=kind)
    assert converted.report.inputs[0].dtype == kind
    np.testing.assert_array_equal(converted.predict(x), folded.predict(x, verbose=0))
    assert keras_sbn.verify(converted, folded, x)


def test_an_image_with_a_value_it_cannot_hold(rng):
    model = _hard(digit_network(), rng)
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0))
    converted = keras_sbn.convert(folded, input_type="int8")
    with pytest.raises(ValueError, match="Expected inputs of int8"):
        converted.predict(np.full((1, 7, 6, 2), 0.5, "float32"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activations": "int4"}, r"Expected `activations` to be one of \['float32', 'int8'\]"),
        ({"input_type": "float16"}, "Expected `input_type` to be one of"),
        ({"output_type": "int16"}, "Expected `output_type` to be one of"),
        ({"activations": "int8"}, "Expected `representative_data` with activations='int8'"),
        ({"input_type": "int8"}, "Expected `representative_data`, .* 'image' is to be int8"),
        (
            {"activations": "int8", "representative_data": np.zeros((0, 7, 6, 2))},
            "`representative_data` to have at least one batch",
        ),
        (
            {"activations": "int8", "representative_data": np.zeros((2, 8, 8, 1))},
            r"\('samples', 7, 6, 2\) for input 'image'\. Received: shape \(2, 8, 8, 1\)",
        ),
        (
            {"activations": "int8", "representative_data": np.full((2, 7, 6, 2), np.nan)},
            "Expected finite data",
        ),
    ],
)
def test_arguments_that_do_not_fit(options, message, rng):
    with pytest.raises(ValueError, match=message):
        keras_sbn.convert(_hard(digit_network(), rng), **options)


def test_a_layer_without_an_int8_operator(rng):
    inputs = keras.Input((6, 6, 4))
    x = keras.layers.ReLU(negative_slope=0.5, name="leaky")(keras.layers.Conv2D(4, 1)(inputs))
    model = _mild(keras.Model(inputs, x), rng)
    x = images(rng, (6, 6, 4), 8)
    with pytest.raises(ValueError, match=r"integer operators compute\. Received: ReLU 'leaky'"):
        keras_sbn.convert(model, activations="int8", representative_data=x)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("where", [2, [1, 3]])
@pytest.mark.parametrize("target", [*_TARGETS, pytest.param("micro", marks=needs_new_litert)])
def test_parts_are_stored_as_the_whole(target, where, axis, rng):
    inputs = keras.Input((4, 4, 4))
    first, second, *_ = keras.ops.split(keras.layers.Conv2D(4, 1)(inputs), where, axis=axis)
    first, *_ = keras.ops.split(keras.ops.split(first, 1, axis=2)[0], 2, axis=2)
    x = keras.layers.Concatenate()([keras.layers.Flatten()(each) for each in (first, second)])
    model = _mild(keras.Model(inputs, keras.layers.Dense(3)(x)), rng)
    x = images(rng, (4, 4, 4), 16)
    options = {} if target == "micro" else {"activations": "int8"}
    converted = keras_sbn.convert(model, target, representative_data=x, **options)
    np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=0.1)


def test_a_float_fallback_is_a_row_of_the_report(rng):
    """Every position has a scale of its own after a Flatten, and no int8 operator."""
    inputs = keras.Input((3, 3, 4))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 1)(inputs))
    norm = keras.layers.BatchNormalization(name="norm")
    model = _mild(keras.Model(inputs, keras.layers.Dense(3)(norm(x))), rng)
    x = images(rng, (3, 3, 4), 8)
    options = {"target": "tflite", "activations": "int8", "representative_data": x}
    with pytest.raises(ValueError, match=r"Affine 'norm'\. allow_float_fallback=True computes it"):
        keras_sbn.convert(model, **options)
    converted = keras_sbn.convert(model, allow_float_fallback=True, **options)
    (row,) = [row for row in converted.report.layers if row.name == "norm"]
    assert (row.kind, row.reason) == ("float", "no int8 operator computes Affine")
    np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=0.2)


def test_representative_data_as_tensorflow_wants_them(rng):
    model = _residual(rng)
    x = images(rng, (8, 8, 3), 8)
    given = (x, [x], lambda: ([x[i : i + 1]] for i in range(8)), iter([(x, np.zeros(8))]))
    first, second, one_by_one, labelled = (
        keras_sbn.convert(model, activations="int8", representative_data=data) for data in given
    )
    assert first.content == second.content == labelled.content
    if keras.backend.backend() == "tensorflow":
        assert one_by_one.content == first.content
    # One by one, other backends can round sums in the last digit otherwise.
    scales, expected = (
        [scale for tensor in read_file(converted.content).tensors for scale in tensor.scales]
        for converted in (one_by_one, first)
    )
    assert len(expected) > 10
    np.testing.assert_allclose(scales, expected, rtol=1e-5)


def test_the_first_layer_that_differs_is_named_within_steps_of_its_scale(rng):
    model = _residual(rng)
    x = images(rng, (8, 8, 3), 64)
    converted = keras_sbn.convert(model, activations="int8", representative_data=x)
    other = _residual(np.random.default_rng(1))
    found = keras_sbn.verify(converted, other, x)
    assert not found
    assert found.first_differing_layer == "stem"


@st.composite
def networks(draw):
    """Blocks of a binary convolution and what follows it."""
    block = st.tuples(
        st.sampled_from([3, 8, 32]),
        st.sampled_from([1, 2, 3]),
        st.sampled_from(["same", "valid"]),
        st.sampled_from([1.0, 0.0, -1.0]),
        st.sampled_from(["none", "max", "average", "residual", "relu", "dense"]),
    )
    return draw(st.lists(block, min_size=1, max_size=2)), draw(st.integers(0, 2**16))


def _random(blocks, seed):
    """Signs are taken of integers alone, so that int8 may round values but must not change a sign."""
    rng = np.random.default_rng(seed)
    inputs = x = keras.Input((6, 5, 3))
    for filters, window, padding, pad_value, extra in blocks:
        window = min(window, *x.shape[1:3])
        options = {"padding": padding, "pad_value": pad_value, "binarize_input": True}
        y = layers.SelfBinarizingConv2D(filters, window, **options)(x)
        real = keras.layers.BatchNormalization()(y)
        if extra == "average":
            real = keras.layers.AveragePooling2D(2, padding="same")(real)
        elif extra == "max":
            real = keras.layers.MaxPooling2D(2, padding="same")(real)
        elif extra == "residual":
            real = keras.layers.Add()([real, keras.layers.Conv2D(filters, 1)(y), real])
        elif extra == "relu":
            real = keras.layers.ReLU()(real)
        elif extra == "dense":
            real = keras.layers.Dense(4, activation="tanh")(real)
        x = y
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(real)))
    _mild(model, rng)
    keras_sbn.binarize(model)
    return model, rng


@pytest.mark.tensorflow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(networks())
def test_random_networks_whose_signs_read_integers_are_near(network):
    model, rng = _random(*network)
    x = images(rng, (6, 5, 3), 32)
    expected = model.predict_on_batch(x)
    for target in _TARGETS:
        converted = keras_sbn.convert(
            model, target=target, activations="int8", representative_data=x, output_type="int8"
        )
        (output,) = converted.report.outputs
        assert np.abs(converted.predict(x) - expected).max() < 6 * output.scale


@pytest.mark.tensorflow
def test_as_near_and_as_small_as_tensorflows_own_quantization(rng, tmp_path):
    """The float layers alone: TensorFlow's file of a network with binary kernels does not run."""
    import tensorflow as tf

    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    y = keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 3, padding="same")(x))
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.DepthwiseConv2D(3, padding="same")(x))
    model = _mild(keras.Model(inputs, keras.layers.Dense(10)(x)), rng)
    x = images(rng, (12, 12, 3), 128)
    model.export(str(tmp_path), format="tf_saved_model")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(64))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    theirs = converter.convert()
    ours = keras_sbn.convert(
        model, target="tflite", activations="int8", representative_data=x[:64]
    ).content
    expected = model.predict(x, verbose=0)
    errors = [
        np.abs(TfliteInterpreter(content).predict([x])[0] - expected).mean() for content in (ours, theirs)
    ]
    assert errors[0] < 1.1 * errors[1]
    assert len(ours) <= len(theirs)


def test_a_mask_ends_in_an_error_and_no_warning(rng):
    """Integers want the rows of a dense layer reshaped, and a reshape ends a mask."""
    inputs = keras.Input((8, 5))
    x = layers.SelfBinarizingDense(4)(keras.layers.Masking(0.0, name="masked")(inputs))
    x = layers.SelfBinarizingDense(3)(activate(x))
    model = _hard(keras.Model(inputs, x), rng)
    samples = images(rng, (8, 5), 6)
    with pytest.raises(ValueError, match="Masking 'masked'"):
        keras_sbn.convert(model, "tflite", activations="int8", representative_data=samples)
