"""What is particular to some of the layers: scales, activations, masks, zeros in the kernel."""

import keras
import layer_cases
import numpy as np
import pytest
from layer_cases import KERNEL_CASES, make, numpy_of, sharpen

from keras_sbn import layers
from keras_sbn.sharpness import HARD


def test_zeros_count_as_plus_one_and_subnormal_weights_as_the_backend_takes_them():
    values = np.array([[-1.0, -0.0, 0.0, -1e-40, 1e-40, -1.2e-38]], "float32")
    layer = layers.SelfBinarizingDense(6)
    layer.build((None, 1))
    layer.kernel.assign(values)
    sharpen(layer, HARD)
    # PyTorch compares subnormal numbers as they are; TensorFlow and JAX take them for 0.
    subnormal = -1 if keras.backend.backend() == "torch" else 1
    np.testing.assert_array_equal(layer.binary_kernel(), [[-1, 1, 1, subnormal, 1, -1]])
    np.testing.assert_array_equal(numpy_of(layer(np.ones((1, 1), "float32"))), layer.binary_kernel())


def test_kernel_of_zeros_has_finite_outputs_and_gradients():
    layer, x = make("conv2d", kernel_initializer="zeros", kernel_scale="mean")
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    function = layer_cases.layer_function(layer, 1.0)
    assert np.isfinite(numpy_of(layer(x))).all()
    for gradient in layer_cases.gradients(function, x, numpy_of(layer.kernel)):
        assert np.isfinite(gradient).all()
    assert (layer.kernel_scale_values() > 0).all()


@pytest.mark.parametrize("size", [1e-7, 1e-3, 1e3])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_normalization_makes_the_size_of_the_kernel_irrelevant(size, policy):
    layer, x = make("dense", dtype=policy)
    kernel = numpy_of(layer.kernel)
    before = numpy_of(keras.ops.cast(layer(x), "float32"))
    layer.kernel.assign(kernel * size)
    epsilon = 1e-12 / np.mean((kernel * size) ** 2)
    tolerance = 2e-2 if policy != "float32" else 1e-5
    np.testing.assert_allclose(
        numpy_of(keras.ops.cast(layer(x), "float32")), before, atol=tolerance + 2 * epsilon
    )


def test_gradient_is_taken_at_the_bound():
    layer, x = make("dense")
    sharpen(layer, 50.0)
    other, _ = make("dense", max_gradient_sharpness=None)
    sharpen(other, 1.0)
    arguments = (x, numpy_of(layer.kernel))
    bounded = layer_cases.gradients(layer_cases.layer_function(layer, 1.0), *arguments)
    exact = layer_cases.gradients(layer_cases.layer_function(other, 1.0), *arguments)
    np.testing.assert_allclose(bounded[1], exact[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "case", [case for case, (_, args, _) in KERNEL_CASES.items() if "kernel_scale" in args]
)
def test_scale_multiplies_the_product(case):
    scaled, x = make(case, use_bias=False, activation=None)
    config = {**scaled.get_config(), "kernel_scale": None, "name": "plain"}
    plain = type(scaled).from_config(config)
    plain.build(x.shape)
    for one in plain.weights:
        one.assign(next(two for two in scaled.weights if two.name == one.name))
    for sharpness in (2.0, HARD):
        sharpen(scaled, sharpness)
        sharpen(plain, sharpness)
        expected = numpy_of(plain(x)) * scaled.kernel_scale_values()
        np.testing.assert_allclose(numpy_of(scaled(x)), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(plain.kernel_scale_values(), np.ones(expected.shape[-1]))


def test_learned_scale_starts_at_one_and_stays_positive():
    layer = layers.SelfBinarizingDense(3, kernel_scale="learned")
    layer.build((None, 4))
    np.testing.assert_array_equal(layer.kernel_scale_values(), np.ones(3, np.float32))
    assert layer.log_kernel_scale.trainable
    layer.log_kernel_scale.assign([-5.0, 0.0, 5.0])
    np.testing.assert_allclose(layer.kernel_scale_values(), np.exp([-5.0, 0.0, 5.0]), rtol=1e-6)


@pytest.mark.parametrize("case", ["dense_mean", "conv2d_same_zeros", "separable"])
def test_hard_layer_with_mean_scale_is_the_best_binary_approximation(case):
    # XNOR-Net, section 3.1: over scale * signs, the mean magnitude minimizes the squared distance.
    layer, _ = make(case)
    if case == "separable":
        parts = layer_cases.latent_kernels(layer)
        latent = parts[0].reshape(*layer.kernel_size, -1, 1) * parts[1]
    else:
        latent = layer_cases.latent_kernels(layer)[0]
    binary, scale = layer.binary_kernel(), layer.kernel_scale_values()
    axes = tuple(range(latent.ndim - 1))

    def distance(factor):
        return ((latent - factor * scale * binary) ** 2).sum(axis=axes)

    assert (distance(1.0) < distance(0.98)).all()
    assert (distance(1.0) < distance(1.02)).all()


def test_activation_by_name_by_function_and_by_layer():
    x = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
    named = layers.SelfBinarizingDense(3, "relu")
    outputs = numpy_of(named(x))
    assert outputs.min() == 0
    assert named.get_config()["activation"] == "relu"
    nested = layers.SelfBinarizingDense(3, layers.SelfBinarizingActivation())
    nested(x)
    again = layers.SelfBinarizingDense.from_config(nested.get_config())
    assert isinstance(again.activation, layers.SelfBinarizingActivation)
    assert len(nested.weights) == 3


def test_dense_passes_its_mask_on():
    inputs = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(4, 6, mask_zero=True)(inputs)
    hidden = layers.SelfBinarizingActivation()(layers.SelfBinarizingDense(3)(embedded))
    outputs = keras.layers.GlobalAveragePooling1D()(layers.BinaryBatchNormalization()(hidden))
    model = keras.Model(inputs, [hidden, outputs])
    steps = np.array([[1, 2, 3, 0, 0], [1, 0, 2, 3, 1]])
    values, means = model.predict(steps, verbose=0)
    weights = (steps != 0)[..., None]
    expected = (values * weights).sum(1) / weights.sum(1) / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(means, expected, rtol=1e-5, atol=1e-6)


def test_masked_steps_take_no_part_in_the_statistics():
    layer = layers.BinaryBatchNormalization(momentum=0.0)
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    mask = np.arange(6) < np.array([[6], [2], [3], [1]])
    layer(x, training=True, mask=keras.ops.convert_to_tensor(mask))
    np.testing.assert_allclose(numpy_of(layer.moving_mean), x[mask].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(numpy_of(layer.moving_variance), x[mask].var(0), rtol=1e-5, atol=1e-6)


def test_transposed_convolution_with_output_padding_is_that_of_keras():
    layer = layers.SelfBinarizingConv2DTranspose(
        2, 3, strides=2, padding="same", output_padding=(1, 0), binarize_kernel=False
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    outputs = layer(x)
    expected = keras.ops.conv_transpose(x, layer.kernel, strides=2, padding="same", output_padding=(1, 0))
    assert layer.compute_output_shape(x.shape) == outputs.shape == expected.shape
    np.testing.assert_array_equal(numpy_of(outputs), numpy_of(expected))
    again = type(layer).from_config(layer.get_config())
    assert again.output_padding == (1, 0)


def test_separable_sharpness_serves_both_kernels():
    layer, _ = make("separable")
    assert [weight.name for weight in layer.sharpness_weights] == ["kernel_sharpness"]
    assert layer.effective_kernel().shape == layer.binary_kernel().shape
    sharpen(layer, 1e7)
    np.testing.assert_allclose(numpy_of(layer.effective_kernel()), layer.binary_kernel(), atol=1e-5)
