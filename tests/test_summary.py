"""The summary agrees with Larq's on the same architectures, and counts what Larq cannot."""

import importlib.util

import keras
import numpy as np
import pytest
import small_models

import keras_sbn

LARQ = """
import json, os
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import larq, tensorflow as tf
from larq.models import ModelProfile

Q = dict(input_quantizer="ste_sign", kernel_quantizer="ste_sign", use_bias=False)
Q["kernel_constraint"] = "weight_clip"
FIRST = {**Q, "input_quantizer": None}
layers, lq = tf.keras.layers, larq.layers

def norm(**options):
    return layers.BatchNormalization(momentum=0.999, **options)

def binary_net():
    model = tf.keras.Sequential(name="binary_net")
    model.add(lq.QuantConv2D(128, 3, input_shape=(32, 32, 3), **FIRST))
    model.add(norm(scale=False))
    for filters, pool in ((128, True), (256, False), (256, True), (512, False), (512, True)):
        model.add(lq.QuantConv2D(filters, 3, padding="same", **Q))
        if pool:
            model.add(layers.MaxPool2D(2))
        model.add(norm(scale=False))
    model.add(layers.Flatten())
    for units in (1024, 1024, 10):
        model.add(lq.QuantDense(units, **Q))
        model.add(norm(scale=False))
    model.add(layers.Activation("softmax"))
    return model

def mixed():
    inputs = layers.Input((16, 16, 4))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = norm()(x)
    block = tf.keras.Sequential(
        [lq.QuantConv2D(8, 3, padding="same", **{**Q, "use_bias": True}), norm(center=False)],
        name="block",
    )
    x = layers.add([x, block(x)])
    x = layers.DepthwiseConv2D(3)(x)
    x = lq.QuantConv2D(6, (1, 2), strides=(1, 2), **{**Q, "kernel_quantizer": None})(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Reshape((3, 6))(x)
    x = lq.QuantDense(5, **Q)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(3)(x)
    return tf.keras.Model(inputs, x, name="mixed")

def separable():
    depthwise = {k: v for k, v in Q.items() if not k.startswith("kernel_")}
    depthwise["depthwise_quantizer"] = "ste_sign"
    inputs = layers.Input((10, 10, 4))
    x = lq.QuantDepthwiseConv2D(3, **depthwise)(inputs)
    x = lq.QuantSeparableConv2D(6, 3, pointwise_quantizer="ste_sign", **depthwise)(x)
    x = layers.Reshape((12, 18))(x)
    x = lq.QuantConv1D(5, 3, **Q)(x)
    return tf.keras.Model(inputs, x, name="separable")

def describe(model):
    profile = ModelProfile(model)
    return {
        "rows": [
            [
                *(p.weight_count(1), p.weight_count(32)),
                *(p.op_count("mac", 1) or 0, p.op_count("mac", 32) or 0),
                p.memory,
            ]
            for p in profile.layer_profiles
        ],
        "parameters": profile.weight_count(),
        "trainable": profile.weight_count(trainable=True),
        "binary_parameters": profile.weight_count(1),
        "float_parameters": profile.weight_count(32),
        "memory": profile.memory,
        "int8_memory": profile.int8_fp_weights_memory,
        "float_memory": profile.fp_equivalent_memory,
        "ratio": profile.memory / profile.fp_equivalent_memory,
        "binary_macs": profile.op_count("mac", 1),
        "float_macs": profile.op_count("mac", 32),
        "macs": profile.op_count("mac"),
    }

models = binary_net(), mixed(), separable()
print(json.dumps({model.name: describe(model) for model in models}))
"""


def binary_net(name="binary_net", activations=False):
    """The Larq tutorial's network; inputs binarized in the layers, or by activation layers between."""
    layers = keras_sbn.layers
    options = {"binarize_input": not activations}

    def activation():
        return [layers.SelfBinarizingActivation()] if activations else []

    def norm():
        return layers.BinaryBatchNormalization(scale=False)

    stack = [layers.SelfBinarizingConv2D(128, 3), norm()]
    for filters, pool in ((128, True), (256, False), (256, True), (512, False), (512, True)):
        stack += activation()
        stack.append(layers.SelfBinarizingConv2D(filters, 3, padding="same", **options))
        stack += [keras.layers.MaxPooling2D(2), norm()] if pool else [norm()]
    if activations:
        stack += activation()
    stack.append(keras.layers.Flatten())
    for index, units in enumerate((1024, 1024, 10)):
        if index:
            stack += activation()
        stack += [layers.SelfBinarizingDense(units, **options), norm()]
    stack.append(keras.layers.Activation("softmax"))
    return keras.Sequential([keras.Input((32, 32, 3)), *stack], name=name)


def mixed():
    layers = keras_sbn.layers
    inputs = keras.Input((16, 16, 4))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    block = keras.Sequential(
        [
            layers.SelfBinarizingConv2D(8, 3, padding="same", binarize_input=True, use_bias=True),
            keras.layers.BatchNormalization(center=False),
        ],
        name="block",
    )
    x = keras.layers.add([x, block(x)])
    x = keras.layers.DepthwiseConv2D(3)(x)
    x = layers.SelfBinarizingConv2D(
        6, (1, 2), strides=(1, 2), binarize_input=True, binarize_kernel=False
    )(x)
    x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Reshape((3, 6))(x)
    x = layers.SelfBinarizingDense(5, binarize_input=True)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3)(x)
    return keras.Model(inputs, x, name="mixed")


@pytest.fixture(scope="module")
def larq():
    if not all(importlib.util.find_spec(name) for name in ("larq", "tf_keras")):
        pytest.skip("needs larq and tf-keras")
    return small_models.run_child(LARQ, KERAS_BACKEND="tensorflow")


def totals(summary):
    return {
        "parameters": summary.parameters,
        "trainable": summary.trainable_parameters,
        "binary_parameters": summary.binary_parameters,
        "float_parameters": summary.float_parameters,
        "memory": summary.memory,
        "int8_memory": summary.int8_memory,
        "float_memory": summary.float_memory,
        "ratio": summary.compression_ratio,
        "binary_macs": summary.binary_macs,
        "float_macs": summary.float_macs,
        "macs": summary.macs,
    }


def rows(summary):
    return [
        [
            layer.binary_parameters,
            layer.float_parameters,
            layer.binary_macs,
            layer.float_macs,
            layer.memory,
        ]
        for layer in summary.layers
    ]


def test_binary_net_is_larqs_to_the_last_digit(larq):
    summary = keras_sbn.summary(binary_net())
    expected = larq["binary_net"]
    assert rows(summary) == expected.pop("rows")
    assert totals(summary) == expected


def test_binary_net_with_activation_layers_costs_the_same(larq):
    summary = keras_sbn.summary(binary_net(activations=True))
    expected = {k: v for k, v in larq["binary_net"].items() if k != "rows"}
    assert totals(summary) == expected
    assert {layer.input_precision for layer in summary.layers if layer.kernel_precision} == {1, 32}


def test_a_sign_that_a_layer_calls_costs_what_one_of_the_model_does():
    def network(*first):
        last = keras_sbn.layers.SelfBinarizingConv2D(4, 3, name="last")
        model = keras.Sequential([keras.Input((8, 8, 3)), *first, last])
        model.predict_on_batch(np.zeros((1, 8, 8, 3), "float32"))  # builds what layers call
        return keras_sbn.summary(model)

    sign, conv = keras_sbn.layers.SelfBinarizingActivation, keras.layers.Conv2D
    own = network(conv(4, 3), sign())
    assert own.binary_macs > 0
    for other in (
        network(conv(4, 3, activation=sign())),
        network(conv(4, 3), keras.layers.Activation(sign())),
    ):
        assert other.layers[-1] == own.layers[-1]
        assert totals(other) == totals(own)
        assert all(layer.float_macs is not None for layer in other.layers)


def test_kernels_inside_of_other_layers_have_their_own_bits():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.first = keras_sbn.layers.SelfBinarizingDense(4)
            self.second = keras.layers.Dense(2)

        def build(self, shape):
            self.first.build(shape)
            self.second.build((*shape[:-1], 4))

        def call(self, x):
            return self.second(self.first(x))

    binary = keras_sbn.layers.SelfBinarizingDense(5)
    model = keras.Sequential([keras.Input((3, 6)), keras.layers.TimeDistributed(binary), Block()])
    wrapped, block = keras_sbn.summary(model).layers
    assert (wrapped.binary_parameters, wrapped.float_parameters, wrapped.kernel_precision) == (30, 0, 1)
    assert (block.binary_parameters, block.float_parameters, block.kernel_precision) == (20, 10, 32)
    assert wrapped.float_macs is None
    assert block.float_macs is None


def test_mixed_and_nested_is_larqs_to_the_last_digit(larq):
    summary = keras_sbn.summary(mixed())
    expected = larq["mixed"]
    expected_rows = expected.pop("rows")
    assert totals(summary) == expected
    # Larq shows a nested model as one row.
    names = [layer.name for layer in summary.layers]
    inside = [i for i, name in enumerate(names) if name.startswith("block/")]
    assert len(inside) == 2
    ours = rows(summary)
    block = [sum(values) for values in zip(*(ours[i] for i in inside), strict=True)]
    rest = [row for i, row in enumerate(ours) if i not in inside]
    assert [row for row in expected_rows if any(row)] == [
        row for row in [*rest[:2], block, *rest[2:]] if any(row)
    ]


@pytest.mark.skipif(
    not hasattr(keras_sbn.layers, "SelfBinarizingSeparableConv2D"), reason="needs the separable layers"
)
def test_depthwise_and_separable_are_larqs_to_the_last_digit(larq):
    layers = keras_sbn.layers
    options = {"binarize_input": True}
    inputs = keras.Input((10, 10, 4))
    x = layers.SelfBinarizingDepthwiseConv2D(3, **options)(inputs)
    x = layers.SelfBinarizingSeparableConv2D(6, 3, **options)(x)
    x = keras.layers.Reshape((12, 18))(x)
    x = layers.SelfBinarizingConv1D(5, 3, **options)(x)
    summary = keras_sbn.summary(keras.Model(inputs, x, name="separable"))
    expected = larq["separable"]
    assert [row for row in rows(summary) if any(row)] == [r for r in expected.pop("rows") if any(r)]
    assert totals(summary) == expected


def test_rows_and_text():
    summary = keras_sbn.summary(small_models.model())
    by_name = {layer.name: layer for layer in summary.layers}
    first, second, dense = by_name["first"], by_name["second"], by_name["dense"]
    assert (first.input_precision, first.kernel_precision) == (32, 1)
    assert (second.input_precision, second.kernel_precision) == (1, 1)
    assert second.output_shape == (None, 4, 4, 4)
    assert second.binary_macs == 4 * 4 * 3 * 3 * 4 * 4
    assert first.float_macs == 6 * 6 * 3 * 3 * 4
    assert (dense.binary_parameters, dense.float_parameters) == (64, 0)
    assert by_name["normalize_first"].float_parameters == 8
    text = str(summary)
    assert "memory (KiB)" in text
    assert text.splitlines()[0].split()[0] == "layer"
    assert f"{summary.parameters:,}" in text
    assert "(None, 4, 4, 4)" in text
    assert f"{summary.compression_ratio:.4f}" in text


def test_zeros_for_padding_and_averages_are_not_binary():
    layers = keras_sbn.layers
    network = keras.Sequential(
        [
            keras.Input((4, 4, 2)),
            layers.SelfBinarizingActivation(),
            keras.layers.ZeroPadding2D(1),
            layers.SelfBinarizingConv2D(2, 3, name="padded"),
            layers.SelfBinarizingActivation(),
            keras.layers.GlobalAveragePooling2D(),
            layers.SelfBinarizingDense(2, name="averaged"),
        ]
    )
    summary = keras_sbn.summary(network)
    precisions = {layer.name: layer.input_precision for layer in summary.layers}
    assert precisions["padded"] == 32
    assert precisions["averaged"] == 32
    assert summary.binary_macs == 0


#: What stands between a sign and a binary layer, and whether ±1 come out of it.
_BETWEEN = {
    "concatenation": (lambda x: keras.layers.Concatenate()([x, x]), True),
    "a part that is real": (lambda x: keras.layers.Concatenate()([x, 2 * x]), False),
    "the larger": (lambda x: keras.layers.Maximum()([x, x[:, ::2][:, :1]]), True),
    "nearest": (lambda x: keras.layers.UpSampling2D(2)(x), True),
    "bilinear": (lambda x: keras.layers.UpSampling2D(2, interpolation="bilinear")(x), False),
    "channels in turn": (
        lambda x: keras.ops.reshape(
            keras.ops.transpose(keras.ops.reshape(x, (-1, 4, 4, 2, 2)), (0, 1, 2, 4, 3)), (-1, 4, 4, 4)
        ),
        True,
    ),
    "halves": (lambda x: keras.ops.concatenate(keras.ops.split(x, 2, axis=-1)[::-1], axis=-1), True),
    "a number": (lambda x: keras.ops.maximum(x, 0.5), False),
    "noise and augmentation": (
        lambda x: keras.layers.GaussianNoise(1.0)(keras.layers.RandomFlip()(x)),
        True,
    ),
    "a class of one's own": (lambda x: Doubled(2)(x), False),
}


class Doubled(keras.layers.MaxPooling2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


@pytest.mark.parametrize("name", _BETWEEN)
def test_what_leaves_signs_as_they_are(name):
    between, is_binary = _BETWEEN[name]
    inputs = keras.Input((4, 4, 4))
    x = between(keras_sbn.layers.SelfBinarizingActivation()(inputs))
    inner = keras.Input(x.shape[1:])
    conv = keras_sbn.layers.SelfBinarizingConv2D(2, 1, name="last")
    for outputs in (conv(x), keras.Model(inner, conv(inner[:, :, :]))(x)):
        summary = keras_sbn.summary(keras.Model(inputs, outputs))
        last = next(layer for layer in summary.layers if layer.name.endswith("last"))
        assert last.input_precision == (1 if is_binary else 32)


def test_shared_layers_count_parameters_once_and_operations_each_time():
    layer = keras_sbn.layers.SelfBinarizingDense(8, binarize_input=True)
    inputs = keras.Input((8,))
    summary = keras_sbn.summary(keras.Model(inputs, layer(layer(inputs))))
    assert summary.binary_parameters == 64
    assert summary.binary_macs == 128


def test_what_larq_cannot_count():
    network = keras.Sequential(
        [
            keras.Input((4, 4, 4, 2)),
            keras.layers.Conv3D(3, 2),
            keras.layers.Conv3DTranspose(2, 2, strides=2),
            keras.layers.Reshape((6, 72)),
            keras.layers.LSTM(2),
        ]
    )
    summary = keras_sbn.summary(network)
    conv, transposed, _, lstm = summary.layers[-4:]
    assert conv.float_macs == 27 * 8 * 2 * 3
    assert transposed.float_macs == 27 * 8 * 3 * 2
    assert lstm.float_macs is None
    assert "?" in str(summary)


def test_subclassed_models_and_input_shapes():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras_sbn.layers.SelfBinarizingDense(3, binarize_input=True)

        def call(self, inputs):
            return self.dense(inputs)

    network = Subclassed()
    network(keras.ops.zeros((2, 5)))
    assert keras_sbn.summary(network).binary_macs == 15
    assert keras_sbn.summary(network, input_shape=(5,)).binary_macs == 15

    varying = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"Expected a model that knows .*Received.*input_shape"):
        keras_sbn.summary(varying)
    assert keras_sbn.summary(varying, input_shape=(5, 5, 1)).macs == 9 * 18


def test_several_inputs_of_any_dtype():
    a, b = keras.Input((3,), name="a"), keras.Input((4,), dtype="int32", name="b")
    x = keras.layers.Concatenate()([a, keras.layers.Flatten()(keras.layers.Embedding(5, 2)(b))])
    network = keras.Model({"a": a, "b": b}, keras_sbn.layers.SelfBinarizingDense(2)(x))
    assert keras_sbn.summary(network).float_macs == 22
    network = keras.Model([a, b], keras_sbn.layers.SelfBinarizingDense(2)(x))
    assert keras_sbn.summary(network).float_macs == 22


def test_the_model_is_left_as_it_was():
    network = small_models.model()
    nodes = [len(layer._inbound_nodes) for layer in network.layers]
    before = [keras.ops.convert_to_numpy(weight) for weight in network.weights]
    keras_sbn.summary(network)
    assert [len(layer._inbound_nodes) for layer in network.layers] == nodes
    assert not any("call" in vars(layer) for layer in network.layers)
    for weight, value in zip(network.weights, before, strict=True):
        assert (keras.ops.convert_to_numpy(weight) == value).all()
