"""Stock files, run by stock TFLite with XNNPACK and without, and by LCE's interpreter."""

import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter
from keras_sbn.tflite.reader import read_file


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _assert_exact(model, x):
    """The file equals the folded model bit for bit in every runtime, and decides as the hard one."""
    folded = keras_sbn.fold(model)
    converted = keras_sbn.convert(folded, target="tflite")
    expected = folded.predict(x, verbose=0)
    for interpreter in (
        TfliteInterpreter(converted.content),
        TfliteInterpreter(converted.content, xnnpack=False),
        LceInterpreter(converted.content, xnnpack=True),
    ):
        (received,) = interpreter.predict([x])
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
        if keras.backend.backend() == "tensorflow" and not isinstance(folded.layers[-2], _AFFINE):
            np.testing.assert_array_equal(received, expected)
    verification = keras_sbn.verify(converted, model, x)
    assert verification, str(verification)
    return converted


# XNNPACK and XLA may contract its product and sum into one operation that rounds once.
_AFFINE = keras_sbn.folding.layers.Affine


@pytest.mark.parametrize("seed", range(3))
def test_the_file_equals_the_model(seed):
    rng = np.random.default_rng(seed)
    _assert_exact(_hard(digit_network(), rng), images(rng, (7, 6, 2)))


def test_one_int8_operator_a_binary_layer(rng):
    converted = keras_sbn.convert(_hard(digit_network(), rng), target="tflite")
    operators = read_file(converted.content).operators
    assert [(op.name, op.outputs[0].dtype) for op in operators] == [
        ("PADV2", "float32"),
        ("DEQUANTIZE", "float32"),
        ("CONV_2D", "float32"),
        ("SUB", "float32"),
        ("MUL", "float32"),
        ("QUANTIZE", "int8"),
        ("PAD", "int8"),
        ("CONV_2D", "int8"),
        ("MAX_POOL_2D", "int8"),
        ("CONV_2D", "int8"),
        ("DEQUANTIZE", "float32"),
        ("CONV_2D", "float32"),
        ("ROUND", "float32"),
        ("MUL", "float32"),
        ("ADD", "float32"),
        ("RESHAPE", "float32"),
    ]
    binary = [row.operators for row in converted.report.layers if row.kind == "binary"]
    assert binary == [
        ("PAD", "CONV_2D"),
        ("MAX_POOL_2D",),
        ("CONV_2D",),
        ("DEQUANTIZE", "CONV_2D", "ROUND"),
    ]
    for op in operators[6:10]:
        tensors = (op.inputs[0], op.outputs[0])
        assert all((t.scales, t.zero_points) == ((1.0,), (127,)) for t in tensors)


@pytest.mark.parametrize("channels", [1, 5, 33])
@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
@pytest.mark.parametrize(
    ("padding", "strides", "dilation_rate", "groups"),
    [("same", 1, 1, 1), ("same", 2, 1, 1), ("same", 1, 2, 1), ("valid", 2, 1, 1), ("same", 1, 1, None)],
)
def test_convolutions_of_every_kind(channels, pad_value, padding, strides, dilation_rate, groups, rng):
    """Groups of one channel are depthwise; the last convolution's sums are read as numbers."""
    options = {
        "strides": strides,
        "padding": padding,
        "pad_value": pad_value,
        "dilation_rate": dilation_rate,
        "groups": channels if groups is None else groups,
    }
    inputs = keras.Input((6, 7, channels))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(2 * channels, 3, **options)(x)
    x = activate(x, keras.layers.BatchNormalization)
    x = layers.SelfBinarizingConv2D(2 * channels, 3, **{**options, "padding": "same", "strides": 1})(x)
    converted = _assert_exact(
        _hard(keras.Model(inputs, x), rng), images(rng, (6, 7, channels), samples=8)
    )
    assert converted.report.binary_macs > 0


def _sums(shape, filters, window, **options):
    """The sums of one convolution of signs, the first two filters all +1 and all -1."""
    inputs = keras.Input(shape)
    signs = layers.SelfBinarizingActivation()(inputs)
    conv = layers.SelfBinarizingConv2D(filters, window, **options)
    model = keras.Model(inputs, conv(signs))
    kernel = np.random.default_rng(1).normal(size=conv.kernel.shape)
    kernel[..., 0], kernel[..., 1] = 1, -1
    conv.set_weights([kernel, *conv.get_weights()[1:]])
    keras_sbn.binarize(model)
    return model, np.where(kernel >= 0, 1, -1)


def _signs(shape, rng):
    """All +1, all -1, all but one of them, few of one sign, and as many of both."""
    first, last = np.ones(shape), -np.ones(shape)
    first.flat[0], last.flat[-1] = -1, 1
    shares = [rng.random(shape) < share for share in (0.02, 0.5, 0.98)]
    mixed = [np.where(share, 1, -1) for share in shares]
    return np.stack([np.ones(shape), -np.ones(shape), first, last, *mixed]).astype("float32")


@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
@pytest.mark.parametrize(
    ("shape", "window", "options"),
    [
        ((6, 5, 3), 3, {"padding": "same"}),
        ((7, 6, 33), 3, {"padding": "same", "strides": 2}),
        ((7, 8, 16), (3, 2), {"padding": "same", "dilation_rate": 2}),
        ((6, 6, 64), 3, {"padding": "valid", "strides": 2}),
        ((2, 3, 20), 5, {"padding": "same"}),
        ((5, 5, 12), 3, {"padding": "same", "groups": 4}),
        ((2, 2, 2048), 3, {"padding": "same"}),
        ((1, 1, 40000), 1, {"padding": "valid"}),
    ],
)
def test_sums_are_exact_integers(pad_value, shape, window, options, rng):
    """Against integer arithmetic in NumPy, also where an image has one sign only."""
    model, kernel = _sums(shape, 4, window, pad_value=pad_value, **options)
    x = _signs(shape, rng)
    expected = _integer_convolution(x, kernel, pad_value, **options)
    content = keras_sbn.convert(model, target="tflite").content
    kernels = [op.inputs[1].dtype for op in read_file(content).operators if op.name == "CONV_2D"]
    padded_with_0 = options["padding"] == "same" and pad_value == 0
    assert kernels == ["float32" if padded_with_0 or "groups" in options else "int8"]
    for interpreter in (
        TfliteInterpreter(content),
        TfliteInterpreter(content, xnnpack=False),
        LceInterpreter(content, xnnpack=True),
        LceInterpreter(content, xnnpack=False),
    ):
        np.testing.assert_array_equal(interpreter.predict([x])[0], expected)


def _integer_convolution(x, kernel, pad_value, padding, strides=1, dilation_rate=1, groups=1):
    size = [dilation_rate * (taps - 1) + 1 for taps in kernel.shape[:2]]
    if padding == "same":
        missing = [
            max((-(-have // strides) - 1) * strides + need - have, 0)
            for have, need in zip(x.shape[1:3], size, strict=True)
        ]
        borders = [(total // 2, total - total // 2) for total in missing]
        x = np.pad(x, ((0, 0), *borders, (0, 0)), constant_values=pad_value)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), size, axis=(1, 2))
    windows = windows[:, ::strides, ::strides, :, ::dilation_rate, ::dilation_rate]
    depth, filters = kernel.shape[2], kernel.shape[3] // groups
    parts = [
        np.einsum(
            "nyxcij,ijcf->nyxf",
            windows[..., group * depth : (group + 1) * depth, :, :],
            kernel[..., group * filters : (group + 1) * filters],
        )
        for group in range(groups)
    ]
    return np.concatenate(parts, axis=-1)


def test_sums_of_too_many_products_are_float(rng, monkeypatch):
    model, kernel = _sums((4, 4, 8), 3, 3)
    monkeypatch.setattr("keras_sbn.conversion.targets.tflite._MOST_PRODUCTS", 71)
    converted = keras_sbn.convert(model, target="tflite")
    assert {row.name: row.kind for row in converted.report.layers}[model.layers[-1].name] == "float"
    x = _signs((4, 4, 8), rng)
    expected = _integer_convolution(x, kernel, 1.0, "valid")
    np.testing.assert_array_equal(TfliteInterpreter(converted.content).predict([x])[0], expected)


def test_groups(rng):
    inputs = keras.Input((5, 5, 12))
    x = layers.SelfBinarizingActivation()(inputs)
    x = activate(layers.SelfBinarizingConv2D(8, 3, padding="same", groups=2)(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(4, 3, groups=4)(x)), rng)
    _assert_exact(model, images(rng, (5, 5, 12), samples=16))


def test_signs_of_real_values_decide_as_the_model(rng):
    """Zeros of both signs, ties with thresholds, neighbours of them, and the largest numbers."""
    inputs = keras.Input((6,))
    norm = keras.layers.BatchNormalization(epsilon=0.0, name="norm")
    x = layers.SelfBinarizingActivation()(norm(inputs))
    model = keras.Model(inputs, [layers.SelfBinarizingActivation()(inputs), x])
    mean = np.array([0.0, 0.1, -3.0, 1e-30, 7.0, -0.25], "float32")
    gamma = np.array([1, -1, 2, 1, 0, -3], "float32")
    norm.set_weights([gamma, np.zeros(6, "f4"), mean, np.ones(6, "f4")])
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    near = [mean, np.nextafter(mean, np.float32(9)), np.nextafter(mean, np.float32(-9)), -mean]
    largest = np.full(6, np.finfo("f4").max)
    x = np.array([*near, 0 * mean, -0.0 * np.abs(mean), largest, -largest], "float32")
    # Below the smallest normal number a processor may take a difference for 0.
    x[np.abs(x) < np.finfo("f4").tiny] = 0
    x[5] = -0.0
    content = keras_sbn.convert(model, target="tflite").content
    for xnnpack in (True, False):
        received = TfliteInterpreter(content, xnnpack=xnnpack).predict([x])
        for a, b in zip(received, folded.predict(x, verbose=0), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_residual_network(rng):
    inputs = keras.Input((6, 6, 8))
    x = inputs
    for _ in range(2):
        y = layers.SelfBinarizingConv2D(8, 3, padding="same", binarize_input=True)(x)
        x = keras.layers.Add()([keras.layers.BatchNormalization()(y), x])
    x = activate(x)
    x = keras.layers.Concatenate()([x, keras.layers.MaxPooling2D(3, 1, "same")(x)])
    x = activate(layers.SelfBinarizingDense(5, name="over_map")(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(keras.layers.Flatten()(x))), rng)
    x = images(rng, (6, 6, 8), samples=16)
    for target in ("tflite", "lce"):
        converted = keras_sbn.convert(model, target=target)
        np.testing.assert_allclose(converted.predict(x), model.predict(x, verbose=0), atol=1e-4)
        kinds = {row.name: row.kind for row in converted.report.layers}
        assert kinds["over_map"] == "binary"


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_dense_layers_over_sequences_are_binary(target, rng):
    inputs = keras.Input((5, 32))
    x = layers.SelfBinarizingDense(32, binarize_input=True, name="one")(inputs)
    x = activate(x, keras.layers.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3, name="two")(x)), rng)
    converted = keras_sbn.convert(model, target=target)
    x = images(rng, (5, 32), 16)
    np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))
    kinds = {row.name: row.kind for row in converted.report.layers}
    assert kinds["one"] == "binary"
    assert ("DEQUANTIZE" in str(converted.report)) == (target == "tflite")


def test_a_concatenation_of_whole_words_stays_bits(rng):
    inputs = keras.Input((4, 4, 64))
    x = layers.SelfBinarizingActivation()(inputs)
    y = activate(layers.SelfBinarizingConv2D(32, 1)(x))
    z = activate(layers.SelfBinarizingConv2D(64, 1)(x))
    x = layers.SelfBinarizingConv2D(3, 1)(keras.layers.Concatenate()([y, z]))
    model = _hard(keras.Model(inputs, x), rng)
    x = images(rng, (4, 4, 64), 8)
    for target, dtype in (("lce", "int32"), ("tflite", "int8")):
        converted = keras_sbn.convert(model, target=target)
        operators = read_file(converted.content).operators
        (concatenation,) = [op for op in operators if op.name == "CONCATENATION"]
        assert concatenation.outputs[0].dtype == dtype
        np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))


def test_a_border_no_target_has(rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(
        4, 3, padding="same", pad_value=0.5, binarize_input=True, name="conv"
    )(inputs)
    model = _hard(keras.Model(inputs, x), rng)
    with pytest.raises(
        ValueError, match=r"padding with \+1, 0 or -1\. Received: 'conv' padded with \[0\.5\]"
    ):
        keras_sbn.convert(model, target="tflite")


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("channels", [5, 33])
def test_a_border_that_differs_from_channel_to_channel(channels, target, rng):
    """gamma of both signs before a pool: the fold negates channels, and their border in what follows."""
    inputs = keras.Input((8, 9, 3))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(channels, 3, padding="same")(x)
    norm = keras.layers.BatchNormalization()
    x = layers.SelfBinarizingActivation()(norm(keras.layers.MaxPooling2D()(x)))
    x = activate(layers.SelfBinarizingConv2D(34, 3, padding="same", strides=2, name="second")(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(2, 1)(x)), rng)
    norm.gamma.assign(np.resize([1.0, -2.0], channels))
    pads = keras.ops.convert_to_numpy(keras_sbn.fold(model).get_layer("second").pad_values)
    assert set(pads.tolist()) == {-1.0, 1.0}
    converted = keras_sbn.convert(model, target=target)
    x = images(rng, (8, 9, 3), 16)
    np.testing.assert_array_equal(converted.predict(x), model.predict(x, verbose=0))
    kinds = {row.name: row.kind for row in converted.report.layers}
    assert kinds["second"] == "binary"
