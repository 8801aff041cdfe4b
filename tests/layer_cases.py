"""What the tests of the layers share: configurations, NumPy's arithmetic, gradients on any backend."""

from __future__ import annotations

import itertools

import keras
import numpy as np

from keras_sbn import layers

#: Name of the configuration -> (layer, arguments, input shape with its batch).
KERNEL_CASES = {
    "dense": (layers.SelfBinarizingDense, {"units": 4}, (3, 6)),
    "dense_rank_3": (
        layers.SelfBinarizingDense,
        {"units": 4, "use_bias": True, "kernel_scale": "learned", "activation": "relu"},
        (3, 5, 6),
    ),
    "dense_mean": (layers.SelfBinarizingDense, {"units": 4, "kernel_scale": "mean"}, (3, 6)),
    "conv1d": (layers.SelfBinarizingConv1D, {"filters": 4, "kernel_size": 3}, (2, 9, 3)),
    "conv1d_causal": (
        layers.SelfBinarizingConv1D,
        {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2, "use_bias": True},
        (2, 9, 3),
    ),
    "conv1d_causal_strided": (
        layers.SelfBinarizingConv1D,
        {"filters": 2, "kernel_size": 4, "padding": "causal", "strides": 2, "pad_value": -1.0},
        (2, 9, 3),
    ),
    "conv2d": (layers.SelfBinarizingConv2D, {"filters": 4, "kernel_size": 3}, (2, 6, 7, 3)),
    "conv2d_same": (
        layers.SelfBinarizingConv2D,
        {"filters": 4, "kernel_size": (3, 4), "padding": "same", "use_bias": True},
        (2, 6, 7, 3),
    ),
    "conv2d_same_zeros": (
        layers.SelfBinarizingConv2D,
        {"filters": 4, "kernel_size": 3, "padding": "same", "pad_value": 0.0, "kernel_scale": "mean"},
        (2, 6, 7, 3),
    ),
    "conv2d_same_strided": (
        layers.SelfBinarizingConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": (2, 3),
            "padding": "same",
            "pad_value": -1.0,
            "kernel_scale": "learned",
        },
        (2, 6, 8, 3),
    ),
    "conv2d_groups_dilated": (
        layers.SelfBinarizingConv2D,
        {"filters": 4, "kernel_size": 2, "dilation_rate": (2, 3), "groups": 2, "padding": "same"},
        (2, 6, 7, 6),
    ),
    "conv3d": (
        layers.SelfBinarizingConv3D,
        {"filters": 2, "kernel_size": (2, 3, 1), "strides": (1, 2, 1), "padding": "same"},
        (2, 3, 4, 5, 2),
    ),
    "depthwise": (
        layers.SelfBinarizingDepthwiseConv2D,
        {"kernel_size": 3, "depth_multiplier": 2, "padding": "same", "kernel_scale": "mean"},
        (2, 6, 7, 3),
    ),
    "depthwise_strided": (
        layers.SelfBinarizingDepthwiseConv2D,
        {"kernel_size": 3, "strides": 2, "padding": "same", "pad_value": 0.0, "use_bias": True},
        (2, 6, 7, 3),
    ),
    "depthwise_dilated": (
        layers.SelfBinarizingDepthwiseConv2D,
        {"kernel_size": 2, "dilation_rate": 2, "kernel_scale": "learned"},
        (2, 6, 7, 3),
    ),
    "separable": (
        layers.SelfBinarizingSeparableConv2D,
        {
            "filters": 4,
            "kernel_size": 3,
            "padding": "same",
            "depth_multiplier": 2,
            "kernel_scale": "mean",
            "use_bias": True,
        },
        (2, 6, 7, 3),
    ),
    "separable_strided": (
        layers.SelfBinarizingSeparableConv2D,
        {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2, "pad_value": -1.0},
        (2, 6, 7, 3),
    ),
    "transpose": (
        layers.SelfBinarizingConv2DTranspose,
        {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same", "kernel_scale": "mean"},
        (2, 4, 5, 3),
    ),
    "transpose_valid": (
        layers.SelfBinarizingConv2DTranspose,
        {"filters": 4, "kernel_size": (3, 2), "strides": (1, 2), "use_bias": True},
        (2, 4, 5, 3),
    ),
}
OTHER_CASES = {
    "activation": (layers.SelfBinarizingActivation, {}, (2, 4, 3)),
    "batch_normalization": (layers.BinaryBatchNormalization, {}, (4, 5, 3)),
    "batch_normalization_axis": (
        layers.BinaryBatchNormalization,
        {"axis": 1, "momentum": 0.8, "epsilon": 0.01},
        (4, 3, 5),
    ),
}
CASES = {**KERNEL_CASES, **OTHER_CASES}


def make(case, seed=0, **overrides):
    """Builds the layer of a case and gives every latent weight a random value; returns it and inputs."""
    layer_class, arguments, shape = CASES[case]
    layer = layer_class(**{**arguments, **overrides})
    layer.build(shape)
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return layer, rng.normal(size=shape).astype("float32")


def sharpen(layer, sharpness):
    for weight in layer.sharpness_weights:
        weight.assign(sharpness)


def numpy_of(x):
    return keras.ops.convert_to_numpy(x)


def gradients(function, *arrays):
    """The gradients of a scalar function of tensors, as NumPy arrays, on the backend in use."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        found = jax.grad(function, argnums=tuple(range(len(arrays))))(*map(jax.numpy.asarray, arrays))
    elif backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        found = tape.gradient(value, tensors)
    else:
        tensors = [keras.ops.convert_to_tensor(array).detach().requires_grad_() for array in arrays]
        function(*tensors).backward()
        found = [tensor.grad for tensor in tensors]
    return [numpy_of(gradient) for gradient in found]


def layer_function(layer, cotangent):
    """The sum of ``layer(x) * cotangent`` as a function of the input and the trainable weights."""
    fixed = [variable.value for variable in layer.non_trainable_variables]

    def function(x, *weights):
        outputs, _ = layer.stateless_call(list(weights), fixed, x)
        return keras.ops.sum(outputs * keras.ops.convert_to_tensor(cotangent))

    return function


def soft_sign_numpy(x, sharpness, normalize=False):
    x = x.astype("float64")
    if np.isinf(sharpness):
        return np.where(x >= 0, 1.0, -1.0)
    return np.tanh(sharpness * (x / np.sqrt(np.mean(x * x) + 1e-12) if normalize else x))


def pads(sizes, window, strides, dilation, padding):
    """How much `padding` puts before and after each dimension."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    reach = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    if padding == "causal":
        return [(reach[0] - 1, 0)]
    totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(sizes, strides, reach, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def convolve_numpy(x, kernel, strides, padding, pad_value, dilation, groups=1):
    """The definition of a convolution, tap by tap, in the dtype of `x`; channels last."""
    window = kernel.shape[:-2]
    amounts = pads(x.shape[1:-1], window, strides, dilation, padding)
    x = np.pad(x, [(0, 0), *amounts, (0, 0)], constant_values=pad_value)
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:-1], window, strides, dilation, strict=True)
    ]
    filters = kernel.shape[-1]
    outputs = np.zeros((len(x), *sizes, filters), x.dtype)
    for tap in np.ndindex(*window):
        places = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, sizes, strides, strict=True)
        )
        seen = x[(slice(None), *places)]
        for group in range(groups):
            inputs = np.split(seen, groups, axis=-1)[group]
            span = slice(group * filters // groups, (group + 1) * filters // groups)
            outputs[..., span] += inputs @ kernel[tap][:, span]
    return outputs


def transpose_numpy(x, kernel, strides, padding):
    """The definition of a transposed convolution: each input adds its kernel to the output."""
    window = kernel.shape[:2]
    full = [max((n - 1) * s + k, n * s) for n, s, k in zip(x.shape[1:3], strides, window, strict=True)]
    outputs = np.zeros((len(x), *full, kernel.shape[2]), x.dtype)
    for i, j in itertools.product(range(x.shape[1]), range(x.shape[2])):
        top, left = i * strides[0], j * strides[1]
        spread = np.einsum("bc,hwfc->bhwf", x[:, i, j], kernel)
        outputs[:, top : top + window[0], left : left + window[1]] += spread
    if padding == "same":
        cut = [max(k - s, 0) // 2 for k, s in zip(window, strides, strict=True)]
        height, width = (n * s for n, s in zip(x.shape[1:3], strides, strict=True))
        outputs = outputs[:, cut[0] : cut[0] + height, cut[1] : cut[1] + width]
    return outputs


def product_numpy(layer, x, kernels):
    """What `layer` computes with the given kernels before scale, bias and activation."""
    if isinstance(layer, layers.SelfBinarizingDense):
        return x @ kernels[0]
    if isinstance(layer, layers.SelfBinarizingConv2DTranspose):
        return transpose_numpy(x, kernels[0], layer.strides, layer.padding)
    options = (layer.strides, layer.padding, layer.pad_value, layer.dilation_rate)
    if not hasattr(layer, "depth_multiplier"):
        return convolve_numpy(x, kernels[0], *options, layer.groups)
    channels = x.shape[-1]
    depthwise = kernels[0].reshape(*layer.kernel_size, 1, channels * layer.depth_multiplier)
    outputs = convolve_numpy(x, depthwise, *options, channels)
    return outputs if len(kernels) == 1 else outputs @ kernels[1][0, 0]


def latent_kernels(layer):
    if isinstance(layer, layers.SelfBinarizingSeparableConv2D):
        return [numpy_of(layer.depthwise_kernel), numpy_of(layer.pointwise_kernel)]
    return [numpy_of(layer.kernel)]


def scale_numpy(layer, kernels, log_kernel_scale=None):
    """The scale by its definition."""
    if layer.kernel_scale == "learned":
        return np.exp(log_kernel_scale.astype("float64"))
    if layer.kernel_scale is None:
        return 1.0
    kernels = [np.abs(kernel.astype("float64")) for kernel in kernels]
    if isinstance(layer, layers.SelfBinarizingSeparableConv2D):
        composed = kernels[0].reshape(*layer.kernel_size, -1, 1) * kernels[1]
        return composed.mean(axis=(0, 1, 2))
    if isinstance(layer, layers.SelfBinarizingDepthwiseConv2D):
        return kernels[0].mean(axis=(0, 1)).reshape(-1)
    if isinstance(layer, layers.SelfBinarizingConv2DTranspose):
        return kernels[0].mean(axis=(0, 1, 3))
    return kernels[0].mean(axis=tuple(range(kernels[0].ndim - 1)))


def scale_of(layer):
    learned = layer.kernel_scale == "learned"
    return scale_numpy(
        layer, latent_kernels(layer), numpy_of(layer.log_kernel_scale) if learned else None
    )


def finish_numpy(layer, outputs):
    outputs = outputs * scale_of(layer)
    if layer.bias is not None:
        outputs = outputs + numpy_of(layer.bias)
    return np.maximum(outputs, 0) if layer.activation is keras.activations.relu else outputs


def slope_numpy(layer, x, cotangent, direction, at, sharpness, gradient_sharpness):
    """The derivative of ``sum(layer(x) * cotangent)`` along `direction` of argument `at`, in float64.

    Argument 0 is `x`, the others are the trainable weights. Each soft sign changes as it does at
    `gradient_sharpness`, while all else stays at `sharpness`: that is what the bound of the gradient
    means, and with equal values it is the derivative.
    """
    weights = {weight.name: numpy_of(weight).astype("float64") for weight in layer.trainable_weights}
    values = [x.astype("float64"), *weights.values()]
    names = ["x", *weights]
    kernels = [name for name in names if "kernel" in name and "scale" not in name]

    def soft(name, value, nu):
        return soft_sign_numpy(value, nu, normalize=name != "x" and layer.normalize_kernel)

    def total(factors, scale, bias):
        inputs, *parts = factors
        return np.sum((product_numpy(layer, inputs, parts) * scale + bias) * cotangent)

    def scale(moved):
        return scale_numpy(layer, [moved[name] for name in kernels], moved.get("log_kernel_scale"))

    name, value = names[at], values[at]
    given = dict(zip(names, values, strict=True))
    factors = {key: soft(key, given[key], sharpness) for key in ("x", *kernels)}
    ends = []
    for step in (1e-5, -1e-5):
        moved = {**given, name: value + step * direction}
        bias = moved.get("bias", 0.0)
        end = total(factors.values(), scale(moved), bias)
        if name in factors:
            softly = {**factors, name: soft(name, moved[name], gradient_sharpness)}
            end += total(softly.values(), scale(given), 0.0)
        ends.append(end)
    return (ends[0] - ends[1]) / 2e-5
