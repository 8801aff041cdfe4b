"""What is known of a value, and what layers with options of every kind fold to."""

import inspect

import keras
import numpy as np
import pytest
from conftest import activate, images, randomize
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.graph import Graph, Node, read
from keras_sbn.folding.kinds import AUGMENTATION
from keras_sbn.folding.ops import KerasCall, Placeholder, Sign, Slot
from keras_sbn.folding.value_ranges import Grid, grid, is_binary

K = keras.layers
TENSORFLOW = keras.backend.backend() == "tensorflow"


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def _assert_equal(model, x, decimals=5):
    folded = keras_sbn.fold(model)
    expected = model.predict(x, verbose=0)
    tolerance = 10.0**-decimals
    found = folded.predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    return folded


_MOVING = [
    lambda form: K.MaxPooling2D(2, data_format=form),
    lambda form: K.MaxPooling2D(3, strides=1, padding="same", data_format=form),
    lambda form: K.GlobalMaxPooling2D(data_format=form, keepdims=True),
    lambda form: K.UpSampling2D(2, data_format=form, interpolation="nearest"),
    lambda form: K.UpSampling2D(2, data_format=form, interpolation="bilinear"),
    lambda form: K.UpSampling2D(2, data_format=form, interpolation="bicubic"),
    lambda form: K.Cropping2D(1, data_format=form),
    lambda form: K.ZeroPadding2D(1, data_format=form),
    lambda form: K.AveragePooling2D(2, data_format=form),
    lambda form: K.AveragePooling2D(3, strides=2, padding="same", data_format=form),
    lambda form: K.GlobalAveragePooling2D(data_format=form, keepdims=True),
    lambda form: K.Permute((3, 1, 2)),
]
_SELECTS = [True, True, True, True, False, False, True, False, False, False, False, True]


#: Functions of ±1, and whether they give ±1.
_FUNCTIONS = {
    "rows": (lambda x: x[:, 1:, ::2], True),
    "one channel": (lambda x: x[..., 0], True),
    "axis": (lambda x: x[:, None], True),
    "shuffled": (lambda x: ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (-1, 16)), True),
    "swapped": (lambda x: ops.squeeze(ops.expand_dims(ops.swapaxes(x, 1, 3), 2), 2), True),
    "moved": (lambda x: ops.moveaxis(x, 1, -1), True),
    "flipped": (lambda x: ops.roll(ops.flip(x, axis=1), 1, axis=2), True),
    "repeated": (lambda x: ops.tile(ops.repeat(x, 2, axis=1), (1, 1, 2, 1)), True),
    "split": (lambda x: ops.split(x, [1, 3], axis=-1)[1], True),
    "joined": (lambda x: ops.concatenate([x, ops.flip(x, axis=1)], axis=1), True),
    "stacked": (lambda x: ops.stack([x, x], axis=1), True),
    "largest": (lambda x: ops.max(x, axis=(1, 2)) - 0, False),
    "largest of all": (lambda x: ops.amin(ops.max(x, axis=(1, 2)), axis=-1, keepdims=True), True),
    "larger": (lambda x: ops.maximum(x, ops.minimum(x, ops.flip(x, axis=1))), True),
    "larger, a layer": (lambda x: K.Minimum()([x, K.Maximum()([x, ops.flip(x, axis=2)])]), True),
    "not below a number": (lambda x: ops.maximum(x, 0.5), False),
    "not above a number": (lambda x: ops.minimum(-2.0, x), False),
    "from a number on": (lambda x: ops.max(x, axis=1, initial=3.0), False),
    "mean": (lambda x: ops.mean(x, axis=1), False),
    "parts of a product": (lambda x: ops.split(2 * x, 2, axis=-1)[0], False),
    "negative": (lambda x: -x, False),
}


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_a_sign_behind_functions_that_move_values(name, rng):
    function, selects = _FUNCTIONS[name]
    inputs = keras.Input((4, 4, 4))
    x = function(layers.SelfBinarizingActivation()(inputs))
    graph = read(keras.Model(inputs, x))
    graph.nodes()[1].op = Sign()
    assert is_binary(graph.outputs[0]) == selects
    assert (grid(graph.outputs[0]) == Grid(1, 1)) == selects
    y = activate(layers.SelfBinarizingDense(3)(K.Flatten()(x)), K.BatchNormalization)
    _assert_equal(_hard(keras.Model(inputs, y), rng), images(rng, (4, 4, 4)))


def _runs(layer):
    """TensorFlow has no pool of channels first on a CPU."""
    pool = type(layer).__name__ in ("MaxPooling2D", "AveragePooling2D")
    return not (TENSORFLOW and pool and layer.data_format == "channels_first")


@pytest.mark.parametrize(("make", "selects"), list(zip(_MOVING, _SELECTS, strict=True)))
@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
def test_a_sign_behind_every_layer_that_moves_values(make, selects, form, rng):
    """±1 of a sign, and sums with batch normalization before and after, in both orders of the axes."""
    layer = make(form)
    inputs = keras.Input((4, 4, 4))
    moved = layer(layers.SelfBinarizingActivation()(inputs))
    node = read(keras.Model(inputs, moved)).outputs[0]
    node.inputs[0].op = Sign()
    assert is_binary(node) == selects
    if not _runs(layer):
        pytest.skip("this backend does not run it")
    x = layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)(inputs)
    for normalize in (True, False):
        y = activate(make(form)(x), K.BatchNormalization) if normalize else make(form)(x)
        y = layers.SelfBinarizingActivation()(y)
        y = layers.SelfBinarizingDense(3)(K.Flatten()(make(form)(y) if min(y.shape[1:]) > 2 else y))
        _assert_equal(_hard(keras.Model(inputs, y), rng), images(rng, (4, 4, 4)))


@pytest.mark.parametrize("scaled", ["layer", "argument"])
def test_an_average_of_integers_can_be_computed(scaled, rng):
    inputs = keras.Input((4, 4, 3), dtype="uint8" if scaled == "layer" else "float32")
    x = K.Rescaling(1 / 4)(inputs) if scaled == "layer" else inputs
    x = layers.SelfBinarizingConv2D(4, 2)(K.AveragePooling2D(2, strides=1)(x))
    model = _hard(keras.Model(inputs, activate(x, K.BatchNormalization)), rng)
    given = rng.integers(0, 256, (16, 4, 4, 3)).astype("uint8")
    folded = keras_sbn.fold(model, input_scaling=None if scaled == "layer" else (1 / 4, 0))
    expected = model.predict(given if scaled == "layer" else given / 4, verbose=0)
    np.testing.assert_array_equal(folded.predict(given, verbose=0), expected)
    assert _kinds(keras_sbn.fold(folded)) == _kinds(folded)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_a_sign_behind_a_concatenation_of_any_axis(axis, rng):
    inputs = keras.Input((4, 4, 4))
    parts = [layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)(inputs) for _ in "ab"]
    x = activate(K.Concatenate(axis=axis)(parts), K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(3, 2)(x)), rng)
    assert _kinds(_assert_equal(model, images(rng, (4, 4, 4)))).count("Threshold") == 2


def test_a_concatenation_of_batches_stays_before_its_sign(rng):
    inputs = keras.Input((6,))
    parts = [layers.SelfBinarizingDense(4)(inputs) for _ in "ab"]
    x = activate(K.Concatenate(axis=0)(parts), K.BatchNormalization)
    model = _hard(keras.Model(inputs, x), rng)
    given = images(rng, (6,))
    folded = keras_sbn.fold(model)
    wanted, found = (keras.ops.convert_to_numpy(network(given)) for network in (model, folded))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5), (5,), (2, 3, 2, 4)])
def test_flatten_in_both_orders_of_the_axes(shape, form, rng):
    inputs = keras.Input(shape)
    x = K.Flatten(data_format=form)(layers.SelfBinarizingActivation()(inputs))
    x = activate(layers.SelfBinarizingDense(6)(x), K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(x)), rng)
    kinds = _kinds(_assert_equal(model, images(rng, shape)))
    assert "Flatten" not in kinds
    assert ("Permute" in kinds) == (form == "channels_first" and len(shape) > 1)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((4, 4, 4), -1),
        ((4, 4, 4), 1),
        ((4, 3, 5), 2),
        ((4, 3, 5), (1, 3)),
        ((4, 3, 5), (1, 2, 3)),
        ((4, 3, 5), None),
        ((6,), -1),
        ((5, 6), 1),
    ],
)
@pytest.mark.parametrize(("invert", "how"), [(False, "adapted"), (True, "adapted"), (True, "given")])
def test_normalization_of_every_axis(shape, axis, invert, how, rng):
    data = (rng.normal(size=(40, *shape)) * rng.uniform(0.1, 9, shape) + 5).astype("float32")
    layer = K.Normalization(axis=axis, invert=invert)
    if how == "adapted":
        layer.adapt(data)
    else:
        kept = [a % (len(shape) + 1) for a in keras.tree.flatten(axis) if a is not None]
        others = tuple(a for a in range(len(shape) + 1) if a not in kept)
        layer = K.Normalization(
            axis=axis, invert=invert, mean=data.mean(others), variance=data.var(others)
        )
    inputs = keras.Input(shape)
    x = layers.SelfBinarizingDense(6, name="after")(layer(inputs))
    model = keras.Model(inputs, x)
    kernel = model.get_layer("after").kernel
    kernel.assign(rng.normal(size=kernel.shape))
    keras_sbn.binarize(model)
    folded = _assert_equal(model, data, decimals=3)
    assert "Normalization" not in _kinds(folded)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("how", ["adapted", "given"])
def test_a_normalization_that_cannot_fold_is_copied_with_its_state(invert, how, rng):
    """It has a value for every column, and the number of rows is not known."""
    data = rng.normal(size=(40, 5, 4, 3)).astype("float32") * 7 + 5
    layer = K.Normalization(axis=2, invert=invert)
    if how == "given":
        statistics = {"mean": data.mean((0, 1, 3)), "variance": data.var((0, 1, 3))}
        layer = K.Normalization(axis=1, invert=invert, **statistics)
    inputs = keras.Input((None, 4, 3) if how == "adapted" else (4, None, 3))
    model = keras.Model(inputs, layers.SelfBinarizingConv2D(6, 1)(layer(inputs)))
    if how == "adapted":
        layer.adapt(data)
    else:
        data = data.transpose(0, 2, 1, 3)
    keras_sbn.binarize(model)
    folded = _assert_equal(model, data, decimals=3)
    assert ("Normalization" in _kinds(folded)) == (how == "given")


@pytest.mark.filterwarnings("ignore:(?s).*Explicitly requested dtype")  # MixUp's own, on JAX
def test_augmentation_does_nothing_at_inference(rng):
    """All of it in one model, which is what the model computes without it."""
    inputs = x = keras.Input((8, 8, 3))
    for kind in sorted(AUGMENTATION, key=lambda kind: kind.__name__):
        x = kind(**_options(kind))(x)
    layer = layers.SelfBinarizingConv2D(4, 3)
    model, without = keras.Model(inputs, layer(x)), keras.Model(inputs, layer(inputs))
    folded = keras_sbn.fold(_hard(model, rng))
    assert _kinds(folded) == ["InputLayer", "BinaryConv2D"]
    given = images(rng, (8, 8, 3), samples=8)
    expected = model.predict(given, verbose=0)
    np.testing.assert_array_equal(without.predict(given, verbose=0), expected)
    np.testing.assert_array_equal(folded.predict(given, verbose=0), expected)


@pytest.mark.parametrize("kind", [K.RandomFlip, K.RandomRotation, K.RandomContrast, K.RandomZoom])
def test_augmentation_of_integers_leaves_an_integer_first_layer(kind, rng):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = K.Rescaling(1 / 255)(kind(**_options(kind))(inputs))
    model = _hard(keras.Model(inputs, activate(layers.SelfBinarizingConv2D(4, 3)(x))), rng)
    folded = keras_sbn.fold(model)
    assert _kinds(folded) == ["InputLayer", "BinaryConv2D", "Threshold"]
    given = rng.integers(0, 256, (8, 8, 8, 3)).astype("uint8")
    expected = model.predict(given, verbose=0)
    assert (folded.predict(given, verbose=0) == expected).mean() > 0.999


def _options(kind):
    arguments = inspect.signature(kind.__init__).parameters
    factors = {"factor": 0.5, "height_factor": 0.25, "width_factor": 0.25}
    if kind.__name__ == "RandomPosterization":
        factors["factor"] = 4
    return {name: value for name, value in factors.items() if name in arguments}


@pytest.mark.parametrize(
    ("multiplier", "padding", "pad_value"), [(2, "same", 1.0), (3, "same", -1.0), (2, "valid", 0.0)]
)
def test_a_separable_layer_of_several_depthwise_filters_is_one_binary_convolution(
    multiplier, padding, pad_value, rng
):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingSeparableConv2D(
        5, 3, depth_multiplier=multiplier, padding=padding, pad_value=pad_value, binarize_input=True
    )(inputs)
    model = _hard(keras.Model(inputs, activate(x, K.BatchNormalization)), rng)
    folded = _assert_equal(model, images(rng, (6, 6, 3)))
    assert _kinds(folded) == ["InputLayer", "Sign", "Concatenate", "BinaryConv2D", "Threshold"]
    assert folded.layers[-1].integer


@given(st.integers(1, 3), st.booleans(), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_grid_is_found_through_any_number_of_layers(sources, nearest, depth):
    """Also through more of them than Python calls functions in one another."""

    def call(layer, *inputs):
        slots = [Slot(index) for index in range(len(inputs))]
        arguments = (((slots if len(slots) > 1 else slots[0]),), {})
        return Node("call", KerasCall(layer, arguments), list(inputs), (None, 4, 4, 3))

    tensor = keras.KerasTensor((None, 4, 4, 3))
    nodes = [
        Node("input", Placeholder(tensor, "uint8", 255), [], (None, 4, 4, 3)) for _ in range(sources)
    ]
    node = call(K.Concatenate(), *nodes) if sources > 1 else nodes[0]
    crop, up = K.Cropping2D(0), K.UpSampling2D(1, interpolation="nearest" if nearest else "bilinear")
    for _ in range(depth * 400):
        node = call(crop, node)
    assert Graph("model", nodes, [node]).nodes()[-1] is node
    assert grid(node) == Grid(1, 255)
    assert grid(call(up, node)) == (Grid(1, 255) if nearest else None)
