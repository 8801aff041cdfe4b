"""What holds for every layer: Keras's contract, saving, shapes, precision, and NumPy's results."""

import keras
import layer_cases
import numpy as np
import pytest
from keras.src.testing import TestCase
from layer_cases import CASES, KERNEL_CASES, make, numpy_of, sharpen

from keras_sbn.sharpness import HARD


def case_parameters(cases):
    return pytest.mark.parametrize("case", list(cases))


def one_of_a_class_everywhere(cases):
    """The first case of every class of layers on every backend, those with other arguments once."""
    first = {kind: name for name, (kind, *_) in reversed(cases.items())}
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(name, marks=[] if first[kind] == name else [pytest.mark.once])
            for name, (kind, *_) in cases.items()
        ],
    )


def training_model(case):
    layer, x = make(case)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(2)])
    # Tracing would take most of the time of this test; test_training.py trains compiled models.
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", run_eagerly=True)
    if hasattr(layer, "sharpness_weights"):
        sharpen(layer, 3.0)
    rng = np.random.default_rng(1)
    return model, x, rng.normal(size=(len(x), *model.output_shape[1:])).astype("float32")


@one_of_a_class_everywhere(CASES)
def test_config_round_trip(case):
    layer, _ = make(case)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    serialized = keras.saving.serialize_keras_object(layer)
    assert serialized["registered_name"] == f"keras_sbn>{type(layer).__name__}"
    assert keras.saving.deserialize_keras_object(serialized).get_config() == layer.get_config()


@one_of_a_class_everywhere(CASES)
def test_saved_files_give_the_same_outputs_and_the_same_next_step(case, tmp_path):
    model, x, y = training_model(case)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    # Keras 3.4 unpacks a model.weights.h5 beside a .keras file, and removes it.
    model.save_weights(tmp_path / "saved.weights.h5")
    outputs = numpy_of(model(x))
    # Keras 3.4 gives the mean loss of all steps so far.
    model.reset_metrics()
    loss = model.train_on_batch(x, y)

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    filled, _, _ = training_model(case)
    filled.optimizer.build(filled.trainable_variables)
    # Training state is in no file, and starts anew.
    for variable in filled.weights:
        variable.assign(np.full(variable.shape, 0.5))
    filled.load_weights(tmp_path / "saved.weights.h5")
    for other in (loaded, filled):
        np.testing.assert_array_equal(numpy_of(other(x)), outputs)
        assert other.train_on_batch(x, y) == pytest.approx(loss, rel=1e-6)
        for one, two in zip(
            [*model.variables, *model.optimizer.variables],
            [*other.variables, *other.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_allclose(numpy_of(one), numpy_of(two), rtol=1e-6, atol=1e-7)


@case_parameters(CASES)
@pytest.mark.parametrize("nu", [3.0, HARD])
def test_integers_are_numbers_of_the_layers_dtype(case, nu):
    """As they are stored they would wrap around, or be an error of the backend: in training too."""
    layer, x = make(case)
    whole = np.random.default_rng(2).integers(0, 256, x.shape)
    layer(whole.astype("float32"))
    if hasattr(layer, "sharpness_weights"):
        sharpen(layer, nu)
    for training in (False, True):
        expected = numpy_of(layer(whole.astype("float32"), training=training))
        for dtype in ("uint8", "int32"):
            found = layer(whole.astype(dtype), training=training)
            assert keras.backend.standardize_dtype(found.dtype) == "float32"
            np.testing.assert_array_equal(numpy_of(found), expected)
        expected = numpy_of(layer((whole > 127).astype("float32"), training=training))
        np.testing.assert_array_equal(numpy_of(layer(whole > 127, training=training)), expected)


@case_parameters(CASES)
def test_output_shape_is_the_computed_one(case):
    layer, x = make(case)
    assert layer(x).shape == layer.compute_output_shape(x.shape)
    dynamic = (None, *x.shape[1:])
    symbolic = layer(keras.Input(batch_shape=dynamic))
    assert symbolic.shape == layer.compute_output_shape(dynamic) == (None, *layer(x).shape[1:])


@case_parameters([case for case in CASES if "conv" in case or "separable" in case or "transpose" in case])
def test_unknown_sizes_stay_unknown(case):
    layer, x = make(case)
    unknown = (None,) * (x.ndim - 1) + x.shape[-1:]
    expected = (None,) * (x.ndim - 1) + tuple(layer(x).shape[-1:])
    assert layer.compute_output_shape(unknown) == expected
    if keras.backend.backend() != "jax":  # JAX cannot trace a convolution over unknown sizes.
        assert layer(keras.Input(batch_shape=unknown)).shape == expected


@case_parameters(CASES)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(case, policy):
    layer, x = make(case, dtype=policy)
    exact, _ = make(case)
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights} == {"float32"}
    tolerance = 0.02 if policy == "mixed_float16" else 0.15
    np.testing.assert_allclose(
        numpy_of(keras.ops.cast(outputs, "float32")), numpy_of(exact(x)), atol=tolerance, rtol=tolerance
    )


@case_parameters(KERNEL_CASES)
@pytest.mark.parametrize(
    ("sharpness", "binarize_input", "normalize"),
    [(1.0, False, True), (7.0, True, True), (2.0, True, False)],
)
def test_soft_forward_equals_numpy(case, sharpness, binarize_input, normalize):
    layer, x = make(case, binarize_input=binarize_input, normalize_kernel=normalize)
    sharpen(layer, sharpness)
    kernels = [
        layer_cases.soft_sign_numpy(kernel, sharpness, normalize)
        for kernel in layer_cases.latent_kernels(layer)
    ]
    inputs = layer_cases.soft_sign_numpy(x, sharpness) if binarize_input else x.astype("float64")
    expected = layer_cases.finish_numpy(layer, layer_cases.product_numpy(layer, inputs, kernels))
    np.testing.assert_allclose(numpy_of(layer(x)), expected, rtol=1e-5, atol=1e-5)


@case_parameters(KERNEL_CASES)
def test_hard_forward_is_exact_integer_arithmetic(case):
    layer, x = make(case, binarize_input=True, kernel_scale=None, use_bias=False, activation=None)
    x[x > 1] = 0.0
    x[x < -1] = -0.0
    sharpen(layer, HARD)
    assert layer.is_hard
    kernels = [np.where(k >= 0, 1, -1) for k in layer_cases.latent_kernels(layer)]
    expected = layer_cases.product_numpy(layer, np.where(x >= 0, 1, -1), kernels)
    assert expected.dtype == np.int64
    np.testing.assert_array_equal(numpy_of(layer(x)), expected)


@case_parameters(KERNEL_CASES)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_hard_forward_is_exact_in_half_precision(case, policy):
    layer, x = make(
        case, binarize_input=True, kernel_scale=None, use_bias=False, activation=None, dtype=policy
    )
    sharpen(layer, HARD)
    kernels = [np.where(k >= 0, 1, -1) for k in layer_cases.latent_kernels(layer)]
    expected = layer_cases.product_numpy(layer, np.where(x >= 0, 1, -1), kernels)
    np.testing.assert_array_equal(numpy_of(keras.ops.cast(layer(x), "float32")), expected)


@case_parameters(KERNEL_CASES)
def test_hard_layer_is_its_binary_kernel_times_its_scale(case):
    layer, x = make(case, activation=None)
    signs = np.where(x >= 0, 1.0, -1.0).astype("float32")
    sharpen(layer, HARD)
    binary = layer.binary_kernel()
    assert binary.dtype == np.int8
    assert set(np.unique(binary)) == {-1, 1}
    np.testing.assert_array_equal(binary, numpy_of(layer.effective_kernel()))
    if "separable" in case:
        kernels = [layer.binary_depthwise_kernel(), layer.binary_pointwise_kernel()]
        composed = layer_cases.convolve_numpy(
            np.repeat(signs, layer.depth_multiplier, axis=-1).astype(int),
            binary.astype(int),
            layer.strides,
            layer.padding,
            layer.pad_value,
            layer.dilation_rate,
        )
        np.testing.assert_array_equal(
            composed,
            layer_cases.product_numpy(layer, signs.astype(int), [k.astype(int) for k in kernels]),
        )
    else:
        kernels = [binary]
        assert binary.shape == layer.kernel.shape
    product = layer_cases.product_numpy(layer, signs, [k.astype("float32") for k in kernels])
    values = layer.kernel_scale_values()
    assert values.dtype == np.float32
    assert values.shape == product.shape[-1:]
    assert (values > 0).all()
    np.testing.assert_allclose(values, layer_cases.scale_of(layer) * np.ones_like(values), rtol=1e-6)
    expected = product * values + (0 if layer.bias is None else numpy_of(layer.bias))
    np.testing.assert_allclose(numpy_of(layer(signs)), expected, rtol=1e-6, atol=1e-6)


FLOAT_LAYERS = {
    "dense_rank_3": keras.layers.Dense,
    "conv1d_causal": keras.layers.Conv1D,
    "conv2d_same": keras.layers.Conv2D,
    "conv2d_groups_dilated": keras.layers.Conv2D,
    "conv3d": keras.layers.Conv3D,
    "depthwise_strided": keras.layers.DepthwiseConv2D,
    "separable": keras.layers.SeparableConv2D,
    "transpose": keras.layers.Conv2DTranspose,
    "transpose_valid": keras.layers.Conv2DTranspose,
}


@case_parameters(FLOAT_LAYERS)
def test_without_binarization_it_is_the_layer_of_keras(case):
    arguments = dict(CASES[case][1])
    for own in ("kernel_scale", "pad_value"):
        arguments.pop(own, None)
    own = {} if "dense" in case or "transpose" in case else {"pad_value": 0.0}
    layer, x = make(case, binarize_kernel=False, kernel_scale=None, **own)
    plain = FLOAT_LAYERS[case](**{"use_bias": False, **arguments})
    plain.build(x.shape)
    for mine, theirs in zip(layer.weights, plain.weights, strict=True):
        assert mine.shape == theirs.shape
        assert mine.name == theirs.name
        theirs.assign(mine)
    assert layer.sharpness_weights == []
    np.testing.assert_allclose(numpy_of(layer(x)), numpy_of(plain(x)), rtol=1e-6, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == tuple(plain.compute_output_shape(x.shape))


@case_parameters([case for case in KERNEL_CASES if "dense" not in case])
def test_channels_first_is_channels_last_transposed(case):
    last, x = make(case)
    first = type(last).from_config({**last.get_config(), "data_format": "channels_first"})
    swapped = np.moveaxis(x, -1, 1)
    assert first.compute_output_shape(swapped.shape)[1] == last(x).shape[-1]
    first.build(swapped.shape)
    first.set_weights(last.get_weights())
    outputs = first(swapped)
    assert outputs.shape == first.compute_output_shape(swapped.shape)
    np.testing.assert_allclose(
        np.moveaxis(numpy_of(outputs), 1, -1), numpy_of(last(x)), rtol=1e-5, atol=1e-5
    )


@case_parameters(KERNEL_CASES)
@pytest.mark.parametrize(("normalize", "bound"), [(False, None), (True, None), (True, 0.8)])
def test_gradient_equals_finite_differences(case, normalize, bound):
    layer, x = make(
        case,
        max_gradient_sharpness=bound,
        binarize_input=True,
        normalize_kernel=normalize,
        activation=None,
    )
    sharpen(layer, 1.5)
    rng = np.random.default_rng(2)
    cotangent = rng.normal(size=layer(x).shape).astype("float32")
    arguments = [x, *(numpy_of(weight) for weight in layer.trainable_weights)]
    found = layer_cases.gradients(layer_cases.layer_function(layer, cotangent), *arguments)
    for index, (argument, gradient) in enumerate(zip(arguments, found, strict=True)):
        tolerance = 1e-5 * (1 + float(np.linalg.norm(gradient)))
        for _ in range(3):
            direction = rng.normal(size=argument.shape)
            direction /= np.linalg.norm(direction)
            expected = layer_cases.slope_numpy(layer, x, cotangent, direction, index, 1.5, bound or 1.5)
            assert np.vdot(gradient, direction) == pytest.approx(expected, abs=tolerance)


@case_parameters(KERNEL_CASES)
@pytest.mark.parametrize("bound", [None, 1.0])
def test_gradients_of_a_hard_layer_are_finite(case, bound):
    layer, x = make(case, max_gradient_sharpness=bound, binarize_input=True, activation=None)
    sharpen(layer, HARD)
    weights = [numpy_of(weight) for weight in layer.trainable_weights]
    function = layer_cases.layer_function(layer, 1.0)
    to_input, *to_weights = layer_cases.gradients(function, x, *weights)
    for gradient in (to_input, *to_weights):
        assert np.isfinite(gradient).all()
    kernel_moves = layer.kernel_scale == "mean"  # then through the scale
    assert np.any(to_input) == (bound is not None)
    assert np.any(to_weights[0]) == (bound is not None or kernel_moves)


class _Contract(TestCase):
    """Keras's own check; it counts PyTorch's parameters without those of a training state."""

    def assertLen(self, iterable, expected_len, msg=None):  # noqa: N802 (of Keras)
        if msg == "Unexpected number of torch_params":
            states = ("_gradient_scale", "accumulates_statistics")
            iterable = [path for path in iterable if not path.endswith(states)]
        super().assertLen(iterable, expected_len, msg=msg)


@one_of_a_class_everywhere(CASES)
# Keras's own check fits on a generator, for which `fit` warns that it does not shuffle.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
def test_keras_contract(case):
    layer_class, arguments, shape = CASES[case]
    layer, _ = make(case)
    _Contract().run_layer_test(
        layer_class,
        init_kwargs=arguments,
        input_shape=shape,
        expected_output_shape=layer.compute_output_shape(shape),
        expected_num_trainable_weights=len(layer.trainable_weights),
        expected_num_non_trainable_weights=len(layer.non_trainable_weights),
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=layer.supports_masking,
        run_training_check=bool(layer.trainable_weights),
    )


@one_of_a_class_everywhere(KERNEL_CASES)
def test_regularizers_and_constraints_act_on_the_latent_kernels(case):
    prefixes = ["depthwise", "pointwise"] if "separable" in case else ["kernel"]
    prefixes = ["depthwise"] if case.startswith("depthwise") else prefixes
    options = {f"{prefix}_regularizer": keras.regularizers.L2(0.5) for prefix in prefixes}
    options |= {f"{prefix}_constraint": "non_neg" for prefix in prefixes}
    layer, x = make(case, activity_regularizer="l1", **options)
    outputs = numpy_of(layer(x[:1]))  # one sample: not every Keras divides this loss by their number
    kernels = layer_cases.latent_kernels(layer)
    expected = sorted([0.01 * np.abs(outputs).sum(), *(0.5 * (k**2).sum() for k in kernels)])
    np.testing.assert_allclose(
        sorted(float(numpy_of(loss)) for loss in layer.losses), expected, rtol=1e-5
    )
    for weight in layer.trainable_weights[: len(prefixes)]:
        assert numpy_of(weight.constraint(weight)).min() == 0
