"""What `binary_model` makes of each kind of layer, what it keeps, and what it refuses."""

import re

import keras
import numpy as np
import pytest
import small_models
from float_models import assert_files_equal, classes, harden, row

import keras_sbn
from keras_sbn import layers
from keras_sbn.from_keras import binary_layers
from keras_sbn.from_keras.policy import candidates
from keras_sbn.from_keras.values import is_convolution

K = keras.layers
CONV, BN, SIGN = "SelfBinarizingConv2D", "BinaryBatchNormalization", "SelfBinarizingActivation"


def _network(*middle, shape=(8, 8, 2), head=True):
    """A first convolution, what is between, and a second one, which is binary in every policy."""
    ends = [K.Flatten(name="flatten"), K.Dense(3, name="logits")] if head else []
    return keras.Sequential(
        [
            keras.Input(shape),
            K.Conv2D(4, 3, padding="same", name="first"),
            K.BatchNormalization(name="first_bn"),
            K.ReLU(name="first_relu"),
            *middle,
            K.Conv2D(4, 3, padding="same", name="last_conv"),
            K.ReLU(name="last_relu"),
            *ends,
        ]
    )


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_pools_then_normalization_then_the_sign():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            K.Conv2D(4, 3, activation="relu", name="a"),
            K.BatchNormalization(name="a_bn"),
            K.MaxPooling2D(name="a_pool"),
            K.Dropout(0.2, name="drop"),
            K.Conv2D(4, 2, use_bias=False, name="b"),
            K.BatchNormalization(name="b_bn"),
            K.Activation("relu", name="b_relu"),
            K.Flatten(name="flat"),
            K.Dense(3, activation="softmax", name="c"),
        ]
    )
    result = keras_sbn.binary_model(model)
    assert [
        (layer.name, kind) for layer, kind in zip(result.model.layers, _kinds(result.model), strict=True)
    ][1:] == [
        ("a", CONV),
        ("a_pool", "MaxPooling2D"),
        ("a_bn", BN),
        ("a_sign", SIGN),
        ("drop", "Dropout"),
        ("b", CONV),
        # The last layer is float and reads real values, through the function that was there.
        ("b_bn", BN),
        ("b_relu", "Activation"),
        ("flat", "Flatten"),
        ("c", "Dense"),
    ]
    assert result.model.get_layer("c").activation is keras.activations.softmax
    assert not result.model.get_layer("a").use_bias
    assert "without bias" in row(result, "a").reason
    assert "without" not in row(result, "b").reason
    assert "before batch normalization" in row(result, "a_pool").reason
    assert "after the sign" in row(result, "drop").reason


ACTIVATIONS = [
    K.ReLU(),
    K.ReLU(6.0),
    K.LeakyReLU(),
    K.PReLU(),
    K.ELU(),
    *(
        K.Activation(name)
        for name in ("relu", "relu6", "gelu", "swish", "tanh", "elu", "selu", "softplus")
    ),
    K.Activation(K.LeakyReLU()),
]


@pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda x: f"{x.name}-{getattr(x, 'activation', '')}"[:30]
)
def test_activation_functions_before_binary_layers_become_signs(activation):
    activation.name = "middle"
    fused = getattr(activation, "activation", activation)
    for use, name in ((activation, "middle"), (fused, "fused")):
        middle = (
            [K.Conv2D(4, 3, name="conv"), use]
            if name == "middle"
            else [K.Conv2D(4, 3, activation=use, name="fused")]
        )
        result = keras_sbn.binary_model(_network(*middle))
        assert SIGN in classes(result, name)
        assert row(result, name).precision == ("sign" if name == "middle" else "binary")
        kept = [
            x for x in result.model.layers if isinstance(x, type(activation)) and x.name != "last_relu"
        ]
        assert kept == []


@pytest.mark.parametrize("policy", ["vgg", "bireal"])
@pytest.mark.parametrize("called", [True, False])
def test_an_activation_of_a_layer_that_stays_keeps_its_weights(policy, called, rng):
    """`Dense(4, activation=PReLU())`, and a first convolution whose PReLU a sign replaces."""
    prelu = K.PReLU(alpha_initializer=keras.initializers.RandomUniform(0.1, 0.9, seed=3))
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            K.Conv2D(4, 3, activation=K.PReLU(), name="first"),
            K.Conv2D(4, 3, activation="relu", name="second"),
            K.Flatten(),
            K.Dense(4, activation=prelu, name="stays"),
            K.Dense(3),
        ]
    )
    if called:
        model(np.zeros((1, 6, 6, 2), "float32"))
        prelu.alpha.assign(rng.uniform(0.1, 0.9, 4))
    result = keras_sbn.binary_model(model, policy=policy)
    (kept,) = (layer for layer in result.model.layers if isinstance(layer, K.PReLU))
    assert kept.trainable
    assert kept is not prelu
    assert _numpy(kept.alpha).min() >= 0.1
    if called:
        np.testing.assert_array_equal(_numpy(kept.alpha), _numpy(prelu.alpha))
    harden(result.model, rng)
    assert_files_equal(result.model, rng)


@pytest.mark.parametrize(
    "function", [keras.ops.relu, keras.ops.gelu, keras.ops.tanh, keras.ops.leaky_relu]
)
def test_functions_of_keras_ops_become_signs(function):
    inputs = keras.Input((6, 6, 1))
    x = function(K.Conv2D(4, 3)(inputs))
    x = K.Flatten()(function(K.Conv2D(4, 3)(x)))
    result = keras_sbn.binary_model(keras.Model(inputs, K.Dense(2)(x)))
    assert sum(row.precision == "sign" for row in result.layers) == 1
    assert _kinds(result.model).count(SIGN) == 1


def test_an_average_pool_stands_before_the_normalization():
    result = keras_sbn.binary_model(_network(K.AveragePooling2D(2, name="pool")))
    assert _kinds(result.model)[1:5] == [CONV, "AveragePooling2D", BN, SIGN]
    assert result.model.layers[3].name == "first_bn"


def test_what_several_layers_read_is_one_sign():
    inputs = keras.Input((8, 8, 2))
    x = K.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    y = K.Conv2D(4, 3, padding="same", activation="relu", name="pooled")(K.MaxPooling2D(name="pool")(x))
    z = K.Concatenate(name="join")([x, K.UpSampling2D(2, name="up")(y)])
    z = K.Conv2D(4, 3, padding="same", activation="relu", name="joined")(z)
    result = keras_sbn.binary_model(keras.Model(inputs, K.Conv2D(2, 1, name="masks")(z)))
    # The sign of "first" goes into the pool, and to the concatenation.
    assert _kinds(result.model).count(SIGN) == 2
    assert _kinds(result.model).count(BN) == 3
    assert result.model.get_layer("pool").input is result.model.get_layer("first_sign").output


def test_float_layers_read_the_function_and_binary_ones_the_sign():
    inputs = keras.Input((8, 8, 2))
    x = K.Conv2D(4, 3, padding="same", name="first")(inputs)
    x = K.Activation("relu", name="relu")(K.BatchNormalization(name="bn")(x))
    wide = K.Conv2D(4, 3, padding="same", name="binary")(x)
    deep = K.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    result = keras_sbn.binary_model(keras.Model(inputs, [K.Dense(2)(wide), K.Dense(2)(deep)]))
    model = result.model
    assert model.get_layer("depthwise").input is model.get_layer("relu_1").output or (
        model.get_layer("depthwise").input is model.get_layer("relu").output
    )
    assert sorted(classes(result, "relu")) == ["Activation", SIGN]
    assert "stays for float layers" in row(result, "relu").reason
    assert _kinds(model).count(BN) == 2  # of "first", read by both, and of "binary"


def test_depthwise_layers_and_gates_stay_float_unless_told_otherwise(rng):
    inputs = keras.Input((8, 8, 2))
    x = K.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = K.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = K.Conv2D(4, 1, activation="relu", name="pointwise")(x)
    gate = K.Dense(2, activation="relu", name="squeeze")(K.GlobalAveragePooling2D(keepdims=True)(x))
    gate = K.Dense(4, activation="sigmoid", name="excite")(gate)
    x = K.Multiply(name="gated")([x, gate])
    model = keras.Model(inputs, K.Dense(2, name="logits")(K.GlobalAveragePooling2D()(x)))
    result = keras_sbn.binary_model(model)
    precisions = {r.name: r.precision for r in result.layers if r.precision in ("binary", "float")}
    assert precisions == {
        "first": "binary",
        "depthwise": "float",
        "pointwise": "binary",
        "squeeze": "float",
        "excite": "float",
        "logits": "float",
    }
    assert "gate" in row(result, "squeeze").reason
    told = keras_sbn.binary_model(model, policy=lambda layer: "binary")
    assert {r.precision for r in told.layers if r.name in precisions} == {"binary"}
    assert "SelfBinarizingDepthwiseConv2D" in _kinds(told.model)
    harden(told.model, rng)
    keras_sbn.fold(told.model)


def test_the_first_layer():
    vgg = keras_sbn.binary_model(_network())
    first = vgg.model.layers[1]
    assert (type(first).__name__, first.pad_value) == (CONV, 0.0)
    assert vgg.model.get_layer("last_conv").pad_value == 1.0
    assert keras_sbn.binary_model(_network(), policy="bireal").model.layers[1].__class__ is K.Conv2D
    # A sum of the columns of a table, each with a sign, says little of it; of an image, it says more.
    table = keras.Sequential([keras.Input((9,)), K.Dense(8, activation="relu"), K.Dense(8), K.Dense(2)])
    assert [r.precision for r in keras_sbn.binary_model(table).layers] == ["float", "binary", "float"]
    image = keras.Sequential([keras.Input((3, 3)), K.Flatten(), *(K.Dense(8) for _ in range(2))])
    assert [r.precision for r in keras_sbn.binary_model(image).layers] == ["", "binary", "float"]


def test_zero_padding_that_a_convolution_can_do_itself(rng):
    pads = {}
    for size in (7, 8):
        for pad in ((0, 1), (1, 0), (1, 1)):
            for strides in (1, 2):
                middle = K.ZeroPadding2D((pad, pad), name="pad"), K.Conv2D(4, 3, strides, name="conv")
                model = _network(*middle, shape=(size, size, 2))
                result = keras_sbn.binary_model(model)
                assert result.model.output_shape == model.output_shape
                pads[size, pad, strides] = not row(result, "pad").became
    assert [case for case, gone in pads.items() if gone] == [
        (7, (1, 1), 1),
        (7, (1, 1), 2),
        (8, (0, 1), 2),
        (8, (1, 1), 1),
    ]
    # Elsewhere it stands before the sign, so that the border is binary.
    result = keras_sbn.binary_model(
        _network(K.ZeroPadding2D(1, name="pad"), K.Conv2D(4, 3, 2, name="conv"), shape=(8, 8, 2))
    )
    assert _kinds(result.model)[1:6] == [CONV, "ZeroPadding2D", BN, SIGN, CONV]
    harden(result.model, rng)
    assert_files_equal(result.model, rng)


def test_kernels_start_from_the_float_ones_in_the_scale_of_the_initializer(rng):
    model = _network()
    for weight in model.weights:
        weight.assign(3 * rng.normal(size=weight.shape))
    gamma = np.array([1.0, -2.0, 0.5, -0.01], "float32")
    model.get_layer("first_bn").gamma.assign(gamma)
    before = model.get_weights()
    binary = keras_sbn.binary_model(model).model
    kernel = _numpy(model.get_layer("first").kernel)
    latent = binary.get_layer("first")
    # A negative gamma turns its channel round, so that gamma of the new layer is positive.
    np.testing.assert_array_equal(latent.binary_kernel(), np.where(kernel * np.sign(gamma) >= 0, 1, -1))
    rms = float(np.sqrt(np.mean(np.square(_numpy(latent.kernel)))))
    assert rms == pytest.approx(np.sqrt(2 / (9 * (2 + 4))), rel=0.2)  # of glorot_uniform
    norm = binary.get_layer("first_bn")
    np.testing.assert_allclose(_numpy(norm.gamma), [1.0, 2.0, 0.5, 0.1], rtol=1e-5)
    np.testing.assert_allclose(_numpy(norm.beta), _numpy(model.get_layer("first_bn").beta))
    # Sums of signs have other statistics.
    assert np.all(_numpy(norm.moving_mean) == 0)
    np.testing.assert_array_equal(
        _numpy(binary.get_layer("logits").kernel), _numpy(model.get_layer("logits").kernel)
    )
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    other = keras_sbn.binary_model(model, carry_weights=False).model
    assert np.mean(other.get_layer("first").binary_kernel() == latent.binary_kernel()) < 0.8


def test_a_kernel_of_zeros_starts_at_random():
    model = _network(K.Conv2D(4, 3, kernel_initializer="zeros", name="zeros"))
    assert len(np.unique(keras_sbn.binary_model(model).model.get_layer("zeros").binary_kernel())) == 2


def test_a_weight_that_is_no_number_is_refused():
    model = _network()
    model.get_layer("first").kernel.assign(np.full((3, 3, 2, 4), np.nan))
    with pytest.raises(ValueError, match="layer 'first', whose kernel has 72 NaN"):
        keras_sbn.binary_model(model)
    keras_sbn.binary_model(model, carry_weights=False)


def test_what_stays_float_computes_what_it_did(rng):
    model = _network(K.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, name="separable"))
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    result = keras_sbn.binary_model(model, keep=["first", "separable"])
    assert classes(result, "separable") == ["DepthwiseConv2D", "Conv2D", BN, SIGN]
    x = rng.normal(size=(2, 8, 8, 2)).astype("float32")
    old, new = (
        keras.Model(each.inputs[0], each.get_layer("separable").output)(x)
        for each in (model, result.model)
    )
    # It reads the statistics and the function of the original, as nothing before it is binary.
    np.testing.assert_allclose(_numpy(new), _numpy(old), rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_a_separable_convolution_is_a_float_depthwise_one_and_a_binary_one(rank, shared, rng):
    """As one of Keras's own depthwise layers: a sign of so few products says little."""
    separable = K.SeparableConv1D if rank == 1 else K.SeparableConv2D
    options = {"padding": "same", "depth_multiplier": 2, "name": "apart"}
    inputs = x = keras.Input((8,) * rank + (3,))
    x = (K.Conv1D if rank == 1 else K.Conv2D)(3, 3, activation="relu", padding="same")(x)
    layer = separable(3, 3, **options)
    x = layer(layer(x) if shared else x)
    model = keras.Model(inputs, K.Dense(3, name="last")(K.Flatten()(x)))
    result = keras_sbn.binary_model(model)
    depthwise, kind = f"DepthwiseConv{rank}D", f"SelfBinarizingConv{rank}D"
    assert [each for each in classes(result, "apart") if each not in (BN, SIGN)] == [depthwise, kind]
    binary = result.model
    signs = np.where(_numpy(layer.pointwise_kernel) >= 0, 1, -1)
    np.testing.assert_array_equal(binary.get_layer("apart").binary_kernel(), signs)
    carried = binary.get_layer("apart_depthwise")
    np.testing.assert_array_equal(_numpy(carried.get_weights()[0]), _numpy(layer.depthwise_kernel))
    harden(binary, rng)
    assert_files_equal(binary, rng)


def test_a_policy_may_make_both_kernels_of_a_separable_convolution_binary(rng):
    model = _network(K.SeparableConv2D(4, 3, padding="same", name="apart"))
    result = keras_sbn.binary_model(model, policy=lambda layer: "binary")
    assert "SelfBinarizingSeparableConv2D" in classes(result, "apart")
    harden(result.model, rng)
    assert_files_equal(result.model, rng)


@pytest.mark.parametrize("window", [1, 3, (5, 3)])
def test_a_transposed_convolution_without_strides_is_a_convolution(window, rng):
    old = K.Conv2DTranspose(3, window, padding="same", use_bias=False, name="up")
    model = _network(old)
    assert is_convolution(old)
    result = keras_sbn.binary_model(model)
    new = result.model.get_layer("up")
    x = rng.normal(size=(2, 8, 8, 4)).astype("float32")
    old.kernel.assign(np.where(_numpy(old.kernel) >= 0, 1.0, -1.0))
    same = K.Conv2D(3, window, padding="same", use_bias=False)
    same.build(x.shape)
    same.kernel.assign(new.binary_kernel())
    np.testing.assert_allclose(_numpy(same(x)), _numpy(old(x)), rtol=1e-4, atol=1e-4)


def test_one_with_strides_stays_float_as_one_target_has_none():
    result = keras_sbn.binary_model(_network(K.Conv2DTranspose(4, 2, 2, name="up")))
    assert row(result, "up").precision == "float"
    told = keras_sbn.binary_model(
        _network(K.Conv2DTranspose(4, 2, 2, name="up")), policy=lambda _: "binary"
    )
    assert classes(told, "up")[0] == "SelfBinarizingConv2DTranspose"


def test_shared_layers_stay_shared(rng):
    left, right = keras.Input((6, 6, 1), name="left"), keras.Input((6, 6, 1), name="right")
    first = K.Conv2D(4, 3, activation="relu", name="first")
    conv, norm = K.Conv2D(4, 3, name="conv"), K.BatchNormalization(name="norm")
    sides = [K.Flatten()(K.ReLU()(norm(conv(first(side))))) for side in (left, right)]
    model = keras.Model([left, right], K.Dense(2, name="logits")(K.Concatenate()(sides)))
    binary = keras_sbn.binary_model(model).model
    assert _kinds(binary).count(CONV) == 2
    assert _kinds(binary).count(BN) == 2
    harden(binary, rng)
    x = {name: rng.integers(-8, 9, (4, 6, 6, 1)).astype("float32") for name in ("left", "right")}
    folded = keras_sbn.fold(binary)
    np.testing.assert_allclose(_numpy(folded(x)), _numpy(binary(x)), rtol=1e-4, atol=1e-4)


def test_nested_models_are_flattened_and_named_in_keep(rng):
    backbone = keras.Sequential(
        [keras.Input((8, 8, 1)), K.Conv2D(4, 3, activation="relu", name="inner"), K.BatchNormalization()],
        name="backbone",
    )
    inputs = keras.Input((8, 8, 1))
    x = K.Conv2D(4, 3, activation="relu", name="outer")(backbone(inputs))
    model = keras.Model(inputs, K.Dense(2, name="logits")(K.Flatten()(x)))
    assert {r.name for r in keras_sbn.binary_model(model).layers} >= {"inner", "outer"}
    result = keras_sbn.binary_model(model, keep=["backbone"])
    assert row(result, "inner").precision == "float"
    assert row(result, "outer").precision == "binary"
    x = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    (norm,) = row(result, backbone.layers[1].name).became[:1]
    inner = keras.Model(result.model.inputs[0], result.model.get_layer(norm.split(": ")[0]).output)
    np.testing.assert_allclose(_numpy(inner(x)), _numpy(backbone(x)), rtol=1e-5, atol=1e-6)


class Standardized(K.Conv2D):
    """Computes otherwise than its class."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


class Named(K.Conv2D):
    """Only fixes arguments."""

    def __init__(self, filters, **options):
        super().__init__(filters, 3, **{"padding": "same", **options})

    def get_config(self):
        return {"filters": self.filters, "name": self.name}


def test_a_layer_that_computes_otherwise_is_never_taken_for_its_class():
    result = keras_sbn.binary_model(_network(Standardized(4, 3, name="own"), Named(4, name="fixed")))
    assert classes(result, "own") == ["Standardized", BN, SIGN]
    assert "defines its own convolution_op" in row(result, "own").reason
    assert classes(result, "fixed")[0] == CONV


def _own_function(x):
    return keras.ops.relu(x) - keras.ops.mean(x)


def test_a_function_of_ones_own_stays_with_its_layer():
    result = keras_sbn.binary_model(_network(K.Conv2D(4, 3, activation=_own_function, name="own")))
    assert row(result, "own").precision == ""
    assert classes(result, "own") == ["Conv2D", BN, SIGN]


def test_a_policy_is_asked_once_for_each_layer_that_can_be_binary():
    model = _network(K.DepthwiseConv2D(3, name="depthwise"))
    asked = []

    def policy(layer):
        asked.append(layer)
        return {"first": "float", "depthwise": "int8"}.get(layer.name, "binary")

    result = keras_sbn.binary_model(model, policy=policy, keep={"logits": "int8"})
    assert [layer.name for layer in asked] == ["first", "depthwise", "last_conv"]
    assert asked == candidates(model)[:3]
    precisions = {r.name: r.precision for r in result.layers if r.precision not in ("", "sign")}
    assert precisions == {"first": "float", "depthwise": "int8", "last_conv": "binary", "logits": "int8"}
    assert result.activations == "int8"
    assert keras_sbn.binary_model(model).activations == "float32"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "resnet"}, "policy='resnet'"),
        ({"policy": lambda layer: "ternary"}, "for layer 'first'. Received: 'ternary'"),
        ({"keep": "first"}, "keep='first'"),
        ({"keep": ["fist"]}, "Received: 'fist'. Did you mean 'first'"),
        ({"keep": {"first": "binary"}}, "keep={'first': 'binary'}"),
        ({"keep": ["first", "last_conv"]}, "'first' kept, as `keep` says; 'last_conv' kept"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        keras_sbn.binary_model(_network(), **options)


def test_a_model_without_a_layer_that_can_be_binary_is_refused_with_what_helps():
    model = keras.Sequential([keras.Input((4,)), K.Dense(2, name="only")])
    with pytest.raises(ValueError, match=r"'only' gives an output of the model.*lambda layer: 'binary'"):
        keras_sbn.binary_model(model)
    result = keras_sbn.binary_model(model, policy=lambda layer: "binary")
    assert _kinds(result.model)[1:] == ["SelfBinarizingDense", BN]
    # The output keeps its name.
    assert result.model.layers[-1].name == "only"
    recurrent = keras.Sequential([keras.Input((4, 2)), K.LSTM(3)])
    with pytest.raises(ValueError, match="no convolution or dense layer of Keras"):
        keras_sbn.binary_model(recurrent)


def test_a_layer_without_a_counterpart_is_refused_with_what_helps(monkeypatch):
    # TensorFlow cannot call it, so that no model has it there; it can be made.
    odd = K.SeparableConv2D(4, 3, strides=(2, 1), name="odd")
    with pytest.raises(ValueError, match=r"layer 'odd'.*keep=\['odd'\]"):
        binary_layers.binary_layer(odd, K.SeparableConv2D, "odd")

    def refused(*args, **kwargs):
        raise ValueError("Expected another layer. Received: this one.")

    model = _network(K.Conv2D(4, 3, name="odd"))
    monkeypatch.setitem(binary_layers._COUNTERPARTS, K.Conv2D, (refused, ()))
    with pytest.raises(ValueError, match=r"layer '(?P<name>\w+)'.*keep=\['(?P=name)'\]") as refusal:
        keras_sbn.binary_model(model, keep=["first"])
    (named,) = re.findall(r"keep=\['(\w+)'\]", str(refusal.value))
    monkeypatch.undo()
    row = {row.name: row for row in keras_sbn.binary_model(model, keep=[named]).layers}[named]
    assert row.precision == "float"


def test_lambda_layers_that_cannot_be_read_are_refused(rng):
    def network(negate):
        inputs = keras.Input((6, 6, 1))
        x = K.Conv2D(4, 3, activation="relu")(negate(inputs))
        x = K.Conv2D(4, 3, activation="relu")(x)
        return keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))

    def known(function):
        return K.Lambda(function, output_shape=lambda shape: shape, name="minus")

    def unlike_when_symbolic(x):
        return x if isinstance(x, keras.KerasTensor) else -x

    with pytest.raises(ValueError, match=r"Lambda layer 'minus'.*recorded.*keras\.ops"):
        keras_sbn.binary_model(network(known(unlike_when_symbolic)))
    for negate in (known(lambda x: -x), keras.ops.negative):
        binary = keras_sbn.binary_model(network(negate)).model
        harden(binary, rng)
        assert_files_equal(binary, rng)


def test_models_that_are_no_graph_are_refused():
    with pytest.raises(ValueError, match="without a known input shape"):
        keras_sbn.binary_model(keras.Sequential([K.Dense(2)]))


def test_bireal_puts_a_real_shortcut_around_every_convolution():
    inputs = keras.Input((8, 8, 4))
    x = K.BatchNormalization(name="stem_bn")(K.Conv2D(4, 3, padding="same", name="stem")(inputs))
    stem = x = K.ReLU(name="stem_relu")(x)
    x = K.ReLU(name="relu_1")(
        K.BatchNormalization(name="bn_1")(K.Conv2D(8, 3, 2, padding="same", name="conv_1")(x))
    )
    x = K.BatchNormalization(name="bn_2")(K.Conv2D(8, 3, padding="same", name="conv_2")(x))
    shortcut = K.Conv2D(8, 1, 2, name="projection")(stem)
    x = K.ReLU(name="relu_2")(K.Add(name="add")([x, shortcut]))
    x = K.Conv2D(16, 3, activation="relu", name="plain")(x)
    x = K.Conv2D(12, 3, padding="same", activation="relu", name="odd")(x)
    result = keras_sbn.binary_model(
        keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x))), policy="bireal"
    )
    model = result.model

    def read_by(name):
        return {x._keras_history.operation.name for x in model.get_layer(name).input}

    # The shortcut of the block goes around its first convolution, and the second gets its own.
    assert read_by("conv_1_shortcut_sum") == {"bn_1", "projection"}
    assert read_by("conv_2_shortcut_sum") == {"bn_2", "conv_1_shortcut_sum"}
    assert "add" not in {layer.name for layer in model.layers}
    # It is real all the way: no sign and no function on it.
    assert model.get_layer("projection").input is model.get_layer("stem_bn").output
    assert row(result, "projection").precision == "float"
    # Of twice the channels, without a border: cropped, and joined to itself.
    assert classes(result, "plain")[:5] == [CONV, BN, "Cropping2D", "Concatenate", "Add"]
    assert "no multiple of its input channels" in row(result, "odd").reason


def test_vgg_has_signs_on_shortcuts():
    inputs = keras.Input((8, 8, 4))
    x = K.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    y = K.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    x = K.Add(name="add")([x, K.Conv2D(4, 3, padding="same", name="b")(y)])
    x = K.Conv2D(4, 3, name="c")(K.ReLU()(x))
    binary = keras_sbn.binary_model(keras.Model(inputs, K.Dense(2)(K.Flatten()(x)))).model
    read = [x._keras_history.operation.name for x in binary.get_layer("add").input]
    assert read == ["stem_sign", "b_bn"]


def test_a_sum_of_float_layers_stays_what_it_was(rng):
    inputs = keras.Input((6, 6, 2))
    x = K.Conv2D(4, 3, padding="same", activation="relu", name="a")(inputs)
    x = K.Add(name="add")([x, K.Conv2D(4, 3, padding="same", activation="relu", name="b")(x)])
    y = K.Conv2D(4, 3, activation="relu", name="c")(x)
    model = keras.Model(inputs, K.Dense(2, name="logits")(K.Flatten()(y)))
    for policy in ("bireal", lambda layer: "binary" if layer.name == "c" else "float"):
        kept = ["b"] if policy == "bireal" else []
        binary = keras_sbn.binary_model(model, policy=policy, keep=kept).model
        x = rng.normal(size=(2, 6, 6, 2)).astype("float32")
        old, new = (keras.Model(m.inputs[0], m.get_layer("add").output)(x) for m in (model, binary))
        np.testing.assert_allclose(_numpy(new), _numpy(old), rtol=1e-5)


def test_statistics_of_a_kept_normalization_start_anew_behind_a_binary_layer():
    model = _network()
    model.get_layer("first_bn").moving_mean.assign(np.full(4, 3.0))
    binary = keras_sbn.binary_model(model, keep=["first_bn"]).model
    assert isinstance(binary.get_layer("first_bn"), K.BatchNormalization)
    assert np.all(_numpy(binary.get_layer("first_bn").moving_mean) == 0)
    float_too = keras_sbn.binary_model(model, keep=["first", "first_bn"]).model
    assert np.all(_numpy(float_too.get_layer("first_bn").moving_mean) == 3)


def test_precision_policies_and_what_is_frozen_are_carried():
    model = _network(K.Conv2D(4, 3, dtype="mixed_float16", name="mixed"))
    model.get_layer("first").trainable = False
    model.get_layer("logits").trainable = False
    binary = keras_sbn.binary_model(model).model
    assert binary.get_layer("mixed").dtype_policy.name == "mixed_float16"
    assert binary.get_layer("mixed_bn").dtype_policy.name == "mixed_float16"
    assert not binary.get_layer("logits").trainable
    # A frozen kernel would stay soft.
    assert binary.get_layer("first").trainable


def test_channels_first_are_normalized_along_their_axis():
    inputs = keras.Input((2, 8, 8))
    x = K.Conv2D(4, 3, data_format="channels_first", activation="relu", name="first")(inputs)
    x = K.Conv2D(4, 3, data_format="channels_first", activation="relu", name="second")(x)
    model = keras.Model(inputs, K.Dense(2)(K.Flatten(data_format="channels_first")(x)))
    binary = keras_sbn.binary_model(model).model
    assert binary.get_layer("first_bn").axis == 1
    assert binary.get_layer("first").data_format == "channels_first"


def test_it_trains_and_its_files_are_equal(rng, tmp_path):
    x, y = small_models.data(192)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            K.Conv2D(8, 3, padding="same", activation="relu"),
            K.Conv2D(16, 3, activation="relu"),
            K.MaxPooling2D(),
            K.Flatten(),
            K.Dense(4),
        ]
    )
    binary = keras_sbn.binary_model(model).model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    binary.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    binary.fit(x, y, epochs=12, verbose=0, callbacks=[keras_sbn.callbacks.Sharpen(data=x)])
    assert all(layer.is_hard for layer in binary.layers if hasattr(layer, "is_hard"))
    assert binary.evaluate(x, y, verbose=0)[1] > 0.6  # of four classes
    binary.save(tmp_path / "binary.keras")
    loaded = keras.saving.load_model(tmp_path / "binary.keras")
    np.testing.assert_array_equal(_numpy(loaded(x)), _numpy(binary(x)))
    if keras.backend.backend() == "tensorflow":
        assert_files_equal(loaded, rng)


def test_deep_models():
    inputs = x = keras.Input((4,))
    for _ in range(100):
        x = K.Dense(4, activation="relu")(x)
    result = keras_sbn.binary_model(keras.Model(inputs, K.Dense(2)(x)))
    assert _kinds(result.model).count("SelfBinarizingDense") == 99


def test_layers_of_this_package_stay_what_they_are():
    model = _network(
        layers.SelfBinarizingActivation(name="sign"), layers.SelfBinarizingConv2D(4, 3, name="own")
    )
    result = keras_sbn.binary_model(model)
    assert classes(result, "sign") == [SIGN]
    assert result.model.get_layer("own").input is result.model.get_layer("sign").output


def test_no_array_of_the_float_model_is_shared():
    """Under JAX a training step donates the arrays of its model: the float one would lose them."""
    model = _network(K.SeparableConv2D(4, 3, padding="same", name="apart"), K.BatchNormalization())
    made = keras_sbn.binary_model(model).model
    variables = [*model.variables, *made.variables]
    assert len({id(variable.value) for variable in variables}) == len(variables)
