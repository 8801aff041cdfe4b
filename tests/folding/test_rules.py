"""What each rewrite makes of a network, beside its being exact."""

import keras
import numpy as np
import pytest
from conftest import activate, digit_network, images, randomize
from hypothesis import given
from hypothesis import strategies as st
from reference import evaluate

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Sign
from keras_sbn.folding.rules.join_affine_maps import JoinAffineMaps
from keras_sbn.folding.thresholds import threshold_of

K = keras.layers


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def _assert_exact(model, folded, x):
    """The folded outputs are those of float64 arithmetic, bit for bit: signs or integers."""
    _, (expected,) = evaluate(model, [x])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(folded(x)), expected)


@pytest.mark.parametrize("normalization", [K.BatchNormalization, layers.BinaryBatchNormalization])
@pytest.mark.parametrize("before_pool", [True, False])
def test_nothing_is_float_between_the_binary_layers_of_a_vgg(normalization, before_pool, rng):
    """Also where gammas are negative, on either side of the pool, and borders are padded with ones."""
    inputs = keras.Input((8, 8, 3))
    x = layers.SelfBinarizingActivation()(inputs)
    for filters in (6, 8):
        x = activate(layers.SelfBinarizingConv2D(filters, 3, padding="same")(x), normalization)
        x = layers.SelfBinarizingConv2D(filters, 3, padding="same")(x)
        if before_pool:
            x = layers.SelfBinarizingActivation()(K.MaxPooling2D()(normalization()(x)))
        else:
            x = activate(K.MaxPooling2D()(x), normalization)
    x = activate(layers.SelfBinarizingDense(9)(K.Flatten()(x)), normalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(4)(x)), rng)
    folded = keras_sbn.fold(model)
    vgg = ["BinaryConv2D", "Threshold", "BinaryConv2D", "Threshold", "MaxPooling2D"]
    dense = ["BinaryConv2D", "Threshold", "BinaryConv2D", "Reshape"]
    assert _kinds(folded) == ["InputLayer", "Sign", *vgg, *vgg, *dense]
    _assert_exact(model, folded, images(rng, (8, 8, 3)))


def test_a_pool_after_negative_gammas_pads_the_next_layer_a_channel_at_a_time(rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(6, 3, binarize_input=True)(inputs)
    x = activate(K.MaxPooling2D(2)(x), K.BatchNormalization)
    x = layers.SelfBinarizingConv2D(4, 3, padding="same", groups=2, name="second")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    model.layers[3].gamma.assign(np.array([1, -1, 2, -2, 0, -1], "float32"))
    keras_sbn.binarize(model)
    folded, trace = keras_sbn.fold(model, trace=True)
    second = folded.get_layer("second")
    assert second.pad_per_channel
    pads = keras.ops.convert_to_numpy(second.pad_values)
    np.testing.assert_array_equal(pads, [1, -1, 1, -1, 1, -1])
    assert "MoveNegatedThresholdBeforeMaxPool" in [step.rule for step in trace.steps]
    _assert_exact(model, folded, images(rng, (6, 6, 4)))


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_threshold_stays_behind_a_pool_of_its_own_axis(direction, rng):
    """The pool has its channels first, the thresholds theirs last."""
    inputs = keras.Input((4, 6, 6))
    x = layers.SelfBinarizingActivation()(inputs)
    x = K.MaxPooling2D(2, data_format="channels_first")(layers.SelfBinarizingConv2D(6, 1)(x))
    x = activate(x, K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(3, 1)(x)), rng)
    model.layers[4].gamma.assign(direction * np.abs(rng.normal(size=3)))
    kinds = _kinds(keras_sbn.fold(model))
    assert kinds.index("MaxPooling2D") < kinds.index("Threshold")


@pytest.mark.parametrize("with_layer", [True, False])
@pytest.mark.parametrize(("scale", "offset", "pad"), [(1 / 255, 0.0, 255), (1 / 127.5, -1.0, 255)])
def test_eight_bit_images_are_summed_as_integers(with_layer, scale, offset, pad, rng):
    """No float operation comes before the first sign."""
    inputs = x = keras.Input((6, 6, 3), dtype="uint8" if with_layer else "float32", name="image")
    if with_layer:
        x = K.Rescaling(scale, offset=offset)(x)
    x = layers.SelfBinarizingConv2D(8, 3, padding="same", name="first")(x)
    model = _hard(keras.Model(inputs, activate(x, K.BatchNormalization)), rng)
    model.layers[-2].moving_mean.assign(rng.normal(size=8))
    folded = keras_sbn.fold(model, input_scaling=None if with_layer else (scale, offset))
    assert _kinds(folded) == ["InputLayer", "BinaryConv2D", "Threshold"]
    assert folded.layers[-1].integer
    assert folded.inputs[0].dtype == "uint8"
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(folded.get_layer("first").pad_values), [pad])
    image = rng.integers(0, 256, (64, 6, 6, 3)).astype("uint8")
    given = image if with_layer else image * scale + offset
    _, (expected,) = evaluate(model, [given])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(folded(image)), expected)


@pytest.mark.parametrize(
    ("shape", "before", "first", "made"),
    [
        ((7, 3), [], layers.SelfBinarizingConv1D(8, 3), ["Reshape", "BinaryConv2D"]),
        ((6, 5), [K.Reshape((6, 5, 1))], layers.SelfBinarizingConv2D(8, 3), ["Reshape", "BinaryConv2D"]),
        ((5, 3, 2), [K.Flatten()], layers.SelfBinarizingDense(8), ["BinaryConv2D"]),
        ((9,), [], layers.SelfBinarizingDense(8), ["Reshape", "BinaryConv2D"]),
    ],
)
@pytest.mark.parametrize("center", [0.0, 0.5])
def test_eight_bit_inputs_are_summed_as_integers_behind_reshapes(center, shape, before, first, made, rng):
    """Dense layers too: the window of a convolution is then all there is."""
    inputs = keras.Input(shape, dtype="uint8")
    x = K.Rescaling(1 / 64, offset=-center)(inputs)
    for layer in before:
        x = layer(x)
    model = _hard(keras.Model(inputs, activate(first(x), K.BatchNormalization)), rng)
    folded = keras_sbn.fold(model)
    assert [kind for kind in _kinds(folded)[1:] if kind != "Threshold"][: len(made)] == made
    assert all(layer.integer for layer in folded.layers if hasattr(layer, "integer"))
    image = rng.integers(0, 256, (64, *shape)).astype("uint8")
    _assert_exact(model, folded, image)


def test_a_scale_that_differs_from_place_to_place_stays_before_the_reshape(rng):
    """Pixels of three columns, each with a scale of its own, become one channel."""
    inputs = keras.Input((6, 3), dtype="uint8")
    x = K.Reshape((6, 3, 1))(K.Rescaling([1.0, 0.5, 0.25])(inputs))
    first = layers.SelfBinarizingConv2D(8, 3)
    model = _hard(keras.Model(inputs, activate(first(x), K.BatchNormalization)), rng)
    folded = keras_sbn.fold(model)
    assert "Affine" in _kinds(folded)
    _assert_exact(model, folded, rng.integers(0, 256, (64, 6, 3)).astype("uint8"))


def test_a_float_first_layer_is_quantized_to_integers(rng):
    inputs = keras.Input((6, 6, 3))
    # Gammas are positive here, so that no filter of the folded layer is negated.
    x = activate(K.Conv2D(8, 3, padding="same", name="first")(inputs))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    image = rng.integers(0, 256, (256, 6, 6, 3)).astype("uint8")
    folded = keras_sbn.fold(model, input_scaling=(1 / 255, 0), quantize_first_layer=True)
    first, threshold = folded.layers[1:3]
    assert type(first).__name__ == "IntegerConv2D"
    assert np.abs(keras.ops.convert_to_numpy(first.kernel)).max(axis=(0, 1, 2)).tolist() == [127] * 8
    assert threshold.integer
    given = (image / 255).astype("float32")
    assert keras_sbn.agreement(model, folded, given, image) > 0.95
    # With the quantized weights put back into the original, nothing differs any more.
    kernel = keras.ops.convert_to_numpy(model.layers[1].kernel).astype(np.float64)
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    model.layers[1].kernel.assign(keras.ops.convert_to_numpy(first.kernel) * scale)
    assert keras_sbn.agreement(model, folded, given, image) == 1.0


def test_refuses_to_quantize_where_there_is_nothing_to(rng):
    with pytest.raises(ValueError, match=r"Expected a first keras\.layers\.Conv2D"):
        keras_sbn.fold(_hard(digit_network(), rng), quantize_first_layer=True)


@pytest.mark.parametrize("scaling", [(0.0, 1.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0,)])
def test_refuses_a_scaling_that_is_none(scaling, rng):
    model = _hard(digit_network(), rng)
    with pytest.raises(ValueError, match="Expected `input_scaling` to be"):
        keras_sbn.fold(model, input_scaling=scaling)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_scales_move_after_average_pools(padding, rng):
    """A multiple of a sum that is 0 has to stay 0: the sum of the multiples need not be."""
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(32, 2, binarize_input=True, kernel_scale="learned")(inputs)
    x = K.AveragePooling2D(3, strides=1, padding=padding)(x)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingActivation()(x)), rng)
    folded = keras_sbn.fold(model)
    assert "Affine" not in _kinds(folded)
    x = images(rng, (6, 6, 4))
    _, (sums,) = evaluate(keras.Model(inputs, model.layers[1].output), [x])
    assert (np.abs(sums) < 1e-9).any()
    total = np.round(sums / model.layers[1].kernel_scale_values())
    averaged = K.AveragePooling2D(3, strides=1, padding=padding)(total)
    expected = np.where(np.round(36 * keras.ops.convert_to_numpy(averaged)) >= 0, 1, -1)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), expected)


def test_average_pools_become_scaled_thresholds(rng):
    inputs = keras.Input((7, 7, 4))
    x = layers.SelfBinarizingConv2D(6, 3, binarize_input=True)(inputs)
    x = activate(K.AveragePooling2D(3, strides=1)(x), K.BatchNormalization)
    x = layers.SelfBinarizingConv2D(5, 2, binarize_input=True)(x)
    x = activate(K.GlobalAveragePooling2D()(x))
    model = _hard(keras.Model(inputs, x), rng)
    folded = keras_sbn.fold(model)
    assert "Affine" not in _kinds(folded)
    _assert_exact(model, folded, images(rng, (7, 7, 4)))


@given(
    st.sampled_from([-2.0, -0.5, 0.5, 1.0]),
    st.integers(-12, 12),
    st.integers(-12, 12),
    st.floats(1e-3, 1e3),
)
def test_a_tie_after_two_normalizations_is_still_a_tie(slope, offset, center, scale):
    """The outer scale, which no float may hold exactly, has no say in where the sign changes."""
    zero = np.zeros(1)
    source = Node("source", Sign(), [], (None, 1))
    inner = Node("inner", Affine(zero, zero + slope, zero + offset / 2), [source], (None, 1))
    outer = Node("outer", Affine(zero + center / 2, zero + scale, zero), [inner], (None, 1))
    assert JoinAffineMaps().apply(Graph("model", [], [outer]), outer)
    threshold = threshold_of(outer.op)
    assert threshold.direction * threshold.threshold == (center - offset) / 2 / slope


def test_branches_are_compared_one_by_one_and_permuted_bits_are_bits(rng):
    inputs = keras.Input((4, 6, 2))
    x = layers.SelfBinarizingActivation()(inputs)
    parts = [layers.SelfBinarizingConv2D(f, 3, padding="same")(x) for f in (2, 3)]
    x = activate(K.Permute((2, 1, 3))(K.Concatenate()(parts)), K.BatchNormalization)
    model = _hard(keras.Model(inputs, x), rng)
    folded = keras_sbn.fold(model)
    assert _kinds(folded).count("Threshold") == 2
    assert _kinds(folded)[-2:] == ["Concatenate", "Permute"]
    _assert_exact(model, folded, images(rng, (4, 6, 2)))


@pytest.mark.parametrize("move", ["flatten", "pool", "negated pool"])
def test_a_comparison_that_moves_to_a_scale_and_a_bias_takes_them_in(move, rng):
    """A comparison of their float32 sum could miss a tie; ``0 s + b`` here is one exactly."""
    inputs = keras.Input((6, 6, 2))
    x = layers.SelfBinarizingConv2D(
        33, 2, binarize_input=True, kernel_scale="mean", use_bias=True, name="first"
    )(inputs)
    x = K.Flatten()(x) if move == "flatten" else K.MaxPooling2D()(x)
    x = activate(x, lambda: K.BatchNormalization(epsilon=0.25, name="normalization"))
    if move == "flatten":
        x = layers.SelfBinarizingDense(3)(x)
    else:
        x = layers.SelfBinarizingConv2D(3, 2, padding="same")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    model.get_layer("first").bias.assign(np.full(33, 2.0))
    normalization = model.get_layer("normalization")
    shape = normalization.gamma.shape
    sign = {"flatten": rng.choice([-1, 1], shape), "pool": 1, "negated pool": -1}[move]
    normalization.gamma.assign(np.broadcast_to(sign, shape))
    normalization.beta.assign(np.broadcast_to(sign * -3.5, shape))
    normalization.moving_mean.assign(np.full(shape, -1.5))
    normalization.moving_variance.assign(np.full(shape, 0.75))
    folded = keras_sbn.fold(model)
    assert "Affine" not in _kinds(folded)
    x = images(rng, (6, 6, 2))
    named, _ = evaluate(model, [x])
    assert (named["normalization"] == 0).any()
    _assert_exact(model, folded, x)


def test_the_signs_behind_flatten_and_dense_layers_are_found_again(rng):
    inputs = keras.Input((3, 3, 2))
    x = layers.SelfBinarizingConv2D(4, 2, binarize_input=True)(inputs)
    x = activate(K.Flatten()(x), K.BatchNormalization)
    x = activate(layers.SelfBinarizingDense(5)(x), K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(x)), rng)
    folded, trace = keras_sbn.fold(model, trace=True)
    signs = [layer for layer in model.layers if isinstance(layer, layers.SelfBinarizingActivation)]
    assert {layer.name for layer in signs} < set(trace.signs)
    x = images(rng, (3, 3, 2))
    named, _ = evaluate(model, [x])
    for name, layer in trace.signs.items():
        found = keras.Model(folded.inputs, folded.get_layer(layer).output)([x])
        np.testing.assert_array_equal(np.reshape(found, (len(x), -1)), named[name].reshape(len(x), -1))


def test_a_pool_that_two_signs_move_before_holds_the_second(rng):
    inputs = keras.Input((4, 4, 2))
    x = layers.SelfBinarizingConv2D(4, 2, padding="same", binarize_input=True)(inputs)
    x = activate(K.MaxPooling2D()(x), layers.BinaryBatchNormalization)
    x = activate(K.GlobalMaxPooling2D()(x), layers.BinaryBatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(x)), rng)
    folded, trace = keras_sbn.fold(model, trace=True)
    first, second = (m for m in model.layers if isinstance(m, layers.SelfBinarizingActivation))
    assert first.name not in trace.signs
    assert folded.get_layer(trace.signs[second.name]).__class__ is K.GlobalMaxPooling2D
    _assert_exact(model, folded, images(rng, (4, 4, 2)))


def test_normalization_after_flatten_keeps_a_threshold_a_position(rng):
    inputs = keras.Input((3, 3, 2))
    x = layers.SelfBinarizingConv2D(4, 2, binarize_input=True)(inputs)
    x = activate(K.Flatten()(x), K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(x)), rng)
    folded = keras_sbn.fold(model)
    assert [layer.axes for layer in folded.layers if hasattr(layer, "axes")] == [3]
    _assert_exact(model, folded, images(rng, (3, 3, 2)))


@pytest.mark.parametrize(
    ("shape", "layer", "kind"),
    [
        ((6, 6, 3), layers.SelfBinarizingSeparableConv2D(4, 3, padding="same"), "BinaryConv2D"),
        ((6, 6, 3), layers.SelfBinarizingDepthwiseConv2D(3, depth_multiplier=2), "BinaryConv2D"),
        ((6, 3), layers.SelfBinarizingConv1D(4, 3, padding="causal"), "BinaryConv2D"),
        ((4, 5, 4, 3), layers.SelfBinarizingConv3D(4, 2, padding="same"), "BinaryConv3D"),
        (
            (4, 4, 3),
            layers.SelfBinarizingConv2DTranspose(4, 3, strides=2),
            "BinaryConv2DTranspose",
        ),
    ],
)
def test_layers_of_every_kind(shape, layer, kind, rng, tmp_path):
    inputs = keras.Input(shape)
    layer = type(layer).from_config({**layer.get_config(), "use_bias": True, "binarize_input": True})
    model = _hard(keras.Model(inputs, activate(layer(inputs), K.BatchNormalization)), rng)
    folded = keras_sbn.fold(model)
    assert _kinds(folded).count(kind) == 1
    assert "Affine" not in _kinds(folded)
    x = images(rng, shape)
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), expected)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert _kinds(keras_sbn.fold(loaded)) == _kinds(folded)


@pytest.mark.parametrize("pad_value", [1.0, 0.0, -0.5])
def test_a_layer_whose_kernel_stays_float_becomes_keras_own(pad_value, rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingConv2D(
        4, 3, padding="same", pad_value=pad_value, binarize_kernel=False, use_bias=True, name="conv"
    )(inputs)
    x = layers.SelfBinarizingDense(5, binarize_kernel=False, activation="relu", name="dense")(x)
    model = keras.Model(inputs, x)
    randomize(model, rng)
    folded = keras_sbn.fold(model)
    assert isinstance(folded.get_layer("conv"), K.Conv2D)
    assert isinstance(folded.get_layer("dense"), K.Dense)
    x = images(rng, (6, 6, 3))
    np.testing.assert_allclose(
        folded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-4
    )


def test_a_residual_network_keeps_only_its_additions_float(rng):
    inputs = keras.Input((6, 6, 4))
    x = layers.SelfBinarizingConv2D(4, 3, padding="same")(inputs)
    for _ in range(2):
        y = layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)(x)
        x = K.Add()([K.BatchNormalization()(K.BatchNormalization()(y)), x])
    model = _hard(keras.Model(inputs, activate(x)), rng)
    kinds = _kinds(keras_sbn.fold(model))
    assert kinds.count("Affine") == kinds.count("Add") == kinds.count("Sign") == 2
    assert "BatchNormalization" not in kinds


def test_a_rule_of_ones_own_is_tried_first(rng):
    class ReluToLinear:
        def apply(self, graph, node):
            if isinstance(node.op, KerasCall) and isinstance(node.op.operation, K.ReLU):
                graph.replace(node, node.input)
                return True
            return False

    inputs = keras.Input((4,))
    x = K.ReLU()(layers.SelfBinarizingDense(3)(inputs))
    model = _hard(keras.Model(inputs, x), rng)
    assert "ReLU" in _kinds(keras_sbn.fold(model))
    folded, trace = keras_sbn.fold(model, rules=[ReluToLinear()], trace=True)
    assert "ReLU" not in _kinds(folded)
    assert trace.steps[0].rule == "ReluToLinear"


def test_the_trace_is_a_table_of_what_was_done(rng):
    _, trace = keras_sbn.fold(_hard(digit_network(), rng), trace=True)
    lines = str(trace).splitlines()
    assert lines[0].split() == ["step", "rule", "at", "which", "was"]
    assert any("AbsorbAffineIntoThreshold" in line and "Sign(Affine)" in line for line in lines)
    assert len(lines) == len(trace.steps) + 2


def test_a_shared_layer_gets_the_threshold_of_each_use(rng):
    a, b = keras.Input((8,), name="a"), keras.Input((8,), name="b")
    shared = layers.SelfBinarizingDense(5, binarize_input=True)
    outputs = [activate(shared(x), K.BatchNormalization) for x in (a, b)]
    model = _hard(keras.Model([a, b], outputs), rng)
    folded = keras_sbn.fold(model)
    x = [images(rng, (8,)), images(rng, (8,))]
    _, expected = evaluate(model, x)
    for found, wanted in zip(folded.predict(x, verbose=0), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
