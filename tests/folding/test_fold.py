import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding import layers as folded_layers

K = keras.layers


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def _assert_same(model, folded, x):
    expected, received = model.predict(x, verbose=0), folded.predict(x, verbose=0)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    if expected.ndim > 1 and expected.shape[-1] > 1:
        np.testing.assert_array_equal(received.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("seed", range(5))
def test_a_folded_network_predicts_the_same(seed):
    rng = np.random.default_rng(seed)
    model = _hard(digit_network(), rng)
    folded = keras_sbn.fold(model)
    _assert_same(model, folded, images(rng, (7, 6, 2)))


def test_a_folded_network_has_integer_kernels_and_thresholds(rng):
    folded = keras_sbn.fold(_hard(digit_network(), rng))
    assert _kinds(folded) == [
        "InputLayer",
        "BinaryConv2D",
        "Threshold",
        "BinaryConv2D",
        "Threshold",
        "MaxPooling2D",
        "BinaryConv2D",
        "Threshold",
        "BinaryConv2D",
        "Affine",
        "Reshape",
    ]
    for layer in folded.layers:
        if isinstance(layer, folded_layers.BinaryConv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            assert kernel.dtype == np.int8
            assert set(np.unique(kernel)) == {-1, 1}
    integers = [layer.integer for layer in folded.layers if hasattr(layer, "integer")]
    # The image is real-valued and so is what the first convolution makes of it.
    assert integers == [False, True, True]
    assert not folded.trainable_weights


def test_the_original_is_untouched(rng):
    model = _hard(digit_network(), rng)
    before = [w.copy() for w in model.get_weights()]
    config = model.get_config()
    keras_sbn.fold(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.get_config() == config


def test_folding_twice_is_folding_once(rng):
    folded = keras_sbn.fold(_hard(digit_network(), rng))
    again = keras_sbn.fold(folded)
    assert _kinds(again) == _kinds(folded)
    for one, other in zip(folded.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_decisions_that_depend_on_nothing_fold_again(rng):
    """gamma = 0 before the sign of a real value is a threshold of -inf or +inf."""
    inputs = keras.Input((3,))
    x = K.BatchNormalization()(K.Dense(4)(inputs))
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(x))
    randomize(model, rng)
    model.layers[2].gamma.assign(np.array([0, 0, 1, -1], "float32"))
    model.layers[2].beta.assign(np.array([1, -1, 0, 0], "float32"))
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    x = images(rng, (3,))
    expected = model.predict(x, verbose=0)
    assert (expected[:, 0] == 1).all()
    assert (expected[:, 1] == -1).all()
    np.testing.assert_array_equal(keras_sbn.fold(folded).predict(x, verbose=0), expected)
    np.testing.assert_array_equal(keras_sbn.convert(folded).predict(x), expected)


def test_a_folded_network_survives_saving(rng, tmp_path):
    folded = keras_sbn.fold(_hard(digit_network(), rng))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    x = images(rng, (7, 6, 2))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), folded.predict(x, verbose=0))


@pytest.mark.parametrize("pad_value", [1.0, 0.0, -1.0])
@pytest.mark.parametrize(
    ("padding", "strides", "dilation_rate", "groups"),
    [("same", 1, 1, 1), ("same", 2, 1, 1), ("same", 1, 2, 1), ("valid", 2, 1, 1), ("same", 1, 1, 2)],
)
def test_convolutions_of_every_kind(pad_value, padding, strides, dilation_rate, groups, rng):
    inputs = x = keras.Input((6, 7, 4))
    x = layers.SelfBinarizingActivation()(x)
    x = layers.SelfBinarizingConv2D(
        6,
        3,
        strides=strides,
        padding=padding,
        pad_value=pad_value,
        dilation_rate=dilation_rate,
        groups=groups,
        use_bias=True,
    )(x)
    model = _hard(keras.Model(inputs, activate(x, keras.layers.BatchNormalization)), rng)
    folded = keras_sbn.fold(model)
    assert _kinds(folded) == ["InputLayer", "Sign", "BinaryConv2D", "Threshold"]
    x = images(rng, (6, 7, 4))
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_thresholds_that_are_exactly_integers(rng):
    """mean = 3, beta = 0: an accumulator of 3 is a tie, and a tie is +1 for either sign of gamma."""
    inputs = keras.Input((9,))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingDense(4, use_bias=True)(x)
    x = keras.layers.BatchNormalization(epsilon=0.25)(x)
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(x))
    randomize(model, rng)
    norm = model.layers[3]
    norm.set_weights(
        [np.array(v, "f4") for v in ([0.5, -0.5, 1, -1], [0, 0, 1, 1], [3, 3, 3, 3], [0.75] * 4)]
    )
    model.layers[2].bias.assign(np.array([0, 0, 2, -2], "float32"))
    keras_sbn.binarize(model)
    x = np.where(rng.random((400, 9)) < 0.5, -1.0, 1.0).astype("float32")
    expected = model.predict(x, verbose=0)
    assert (np.abs(expected) == 1).all()
    np.testing.assert_array_equal(keras_sbn.fold(model).predict(x, verbose=0), expected)


@pytest.mark.parametrize("scale", [2.0, -2.0, 0.0])
@pytest.mark.parametrize("beta", [0.5, 0.0, -0.5])
def test_gamma_of_any_sign_through_max_pooling(scale, beta, rng):
    inputs = keras.Input((5, 5, 3))
    x = layers.SelfBinarizingActivation()(inputs)
    x = layers.SelfBinarizingConv2D(4, 3)(x)
    x = keras.layers.MaxPooling2D(2, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(x))
    randomize(model, rng)
    model.layers[4].gamma.assign(np.full(4, scale))
    model.layers[4].beta.assign(np.full(4, beta))
    keras_sbn.binarize(model)
    x = images(rng, (5, 5, 3))
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(keras_sbn.fold(model).predict(x, verbose=0), expected)


def test_two_normalizations_and_a_bias_in_a_row(rng):
    inputs = keras.Input((20,))
    x = layers.SelfBinarizingDense(5, binarize_input=True, use_bias=True)(inputs)
    x = keras.layers.BatchNormalization()(layers.BinaryBatchNormalization()(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingActivation()(x)), rng)
    folded = keras_sbn.fold(model)
    assert "Affine" not in _kinds(folded)
    x = images(rng, (20,))
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_nested_models_shared_layers_branches_and_several_outputs(rng):
    shared = layers.SelfBinarizingDense(8, binarize_input=True, name="shared")
    inner_in = keras.Input((8,))
    inner = keras.Model(inner_in, activate(shared(inner_in)), name="inner")
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    left, right = inner(a), inner(b)
    total = keras.layers.Add(name="total")([left, right])
    logits = layers.SelfBinarizingDense(3, binarize_input=True, name="logits")(total)
    model = _hard(keras.Model({"a": a, "b": b}, {"total": total, "logits": logits}), rng)
    folded = keras_sbn.fold(model)
    x = {"a": images(rng, (8,)), "b": images(rng, (8,))}
    expected, received = model.predict(x, verbose=0), folded.predict(x, verbose=0)
    assert set(received) == {"total", "logits"}
    for key, value in expected.items():
        np.testing.assert_array_equal(received[key], value)


def test_a_sequential_model(rng):
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.SelfBinarizingDense(6),
            layers.BinaryBatchNormalization(scale=False),
            layers.SelfBinarizingActivation(),
            layers.SelfBinarizingDense(2),
        ]
    )
    _hard(model, rng)
    _assert_same(model, keras_sbn.fold(model), images(rng, (12,)))


def test_refuses_a_soft_network_and_says_how_soft(rng):
    model = digit_network()
    randomize(model, rng)
    with pytest.raises(ValueError, match=r"7 layers that are still soft") as error:
        keras_sbn.fold(model)
    text = str(error.value)
    assert "conv_2: sharpness 1, 100.0 % of its kernel not yet ±1" in text
    assert "keras_sbn.binarize(model)" in text


def test_refuses_a_subclassed_model():
    class Custom(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.SelfBinarizingDense(2)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match=r"subclassed model .* of class Custom"):
        keras_sbn.fold(Custom())


def test_refuses_what_is_not_a_model():
    with pytest.raises(ValueError, match=r"Expected a Keras model\. Received: str"):
        keras_sbn.fold("model.keras")


def test_refuses_a_sequential_model_without_an_input():
    with pytest.raises(ValueError, match="Expected a built model"):
        keras_sbn.fold(keras.Sequential([layers.SelfBinarizingDense(2)]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["kernel", "beta", "moving_variance"])
def test_refuses_weights_that_are_not_finite(name, value, rng):
    model = _hard(digit_network(), rng)
    weight = next(w for w in model.weights if w.name == name)
    broken = keras.ops.convert_to_numpy(weight).copy()
    broken.flat[0] = value
    weight.assign(broken)
    with pytest.raises(ValueError, match=rf"Expected finite weights\. Received: .*{name} with 1 NaN"):
        keras_sbn.fold(model)


def test_refuses_channels_first(rng):
    inputs = keras.Input((3, 6, 6))
    x = layers.SelfBinarizingConv2D(4, 3, data_format="channels_first", name="conv")(inputs)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    with pytest.raises(ValueError, match="Expected layer 'conv' to have channels last"):
        keras_sbn.fold(model)
