"""Self-binarizing layers in the place of float ones, and the weights they start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn import layers
from keras_sbn.from_keras.values import is_convolution

K = keras.layers

#: The counterpart of each layer of Keras, and the arguments of the layer that it takes.
_CONVOLUTION = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
_COUNTERPARTS: dict[type, tuple[type, tuple[str, ...]]] = {
    K.Conv1D: (layers.SelfBinarizingConv1D, (*_CONVOLUTION, "groups")),
    K.Conv2D: (layers.SelfBinarizingConv2D, (*_CONVOLUTION, "groups")),
    K.Conv3D: (layers.SelfBinarizingConv3D, (*_CONVOLUTION, "groups")),
    K.Conv2DTranspose: (layers.SelfBinarizingConv2DTranspose, (*_CONVOLUTION, "output_padding")),
    K.Dense: (layers.SelfBinarizingDense, ("units",)),
    K.DepthwiseConv2D: (
        layers.SelfBinarizingDepthwiseConv2D,
        ("depth_multiplier", *_CONVOLUTION[1:]),
    ),
    K.SeparableConv2D: (layers.SelfBinarizingSeparableConv2D, (*_CONVOLUTION, "depth_multiplier")),
}
#: The kernels that layers have, by their names in Keras and here.
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
#: A smaller gamma would start its channel at next to nothing, and a logarithm moves slowly down there.
_SMALLEST_GAMMA = 0.1

Load = Callable[[], None]


def binary_layer(layer: Any, kind: type, name: str, **changes: Any) -> Any:
    """The self-binarizing layer in the place of a float one, not built.

    It has no bias, as batch normalization follows, and none of the regularizers and constraints: they are
    about the size of weights, which a sign has not.

    Args:
        layer: A layer of Keras.
        kind: The class whose computation it has.
        name: The name of the new layer.
        **changes: Other arguments of the new layer.

    Raises:
        ValueError: If the new layer cannot have the arguments of the old one.
    """
    if kind is K.Conv2DTranspose and is_convolution(layer):
        kind = K.Conv2D
    counterpart, arguments = _COUNTERPARTS[kind]
    # What the layer of the old kind has not, the new one has by default.
    arguments = tuple(argument for argument in arguments if hasattr(layer, argument))
    options = {argument: getattr(layer, argument) for argument in arguments}
    try:
        return counterpart(**{**options, **changes}, name=name, dtype=layer.dtype_policy)
    except ValueError as error:
        raise ValueError(
            f"Expected layer {layer.name!r} to have a binary counterpart. Received: {error} Keep it "
            f"float: keep=[{layer.name!r}]."
        ) from error


def left_out(layer: Any) -> list[str]:
    """What a layer has and its binary counterpart has not."""
    kinds = ["kernel", "depthwise", "pointwise", "activity"]
    names = [f"{kind}_{what}" for kind in kinds for what in ("regularizer", "constraint")]
    found = ["bias"] if layer.use_bias else []
    return found + [name for name in names if getattr(layer, name, None) is not None]


def load_kernels(old: Any, new: Any, flips: np.ndarray | None = None) -> None:
    """Starts the latent kernels of `new` from the kernels of `old`.

    The layer divides its kernel by the root mean square, so the scale is free. It decides how far a step
    of the optimizer turns the kernel; the scale of the new layer's own initializer is what the defaults
    of the training are made for, and so it is kept.

    Args:
        old: A built layer of Keras.
        new: A built self-binarizing layer.
        flips: One of -1 or +1 an output channel, which the last kernel is multiplied by, or `None`.

    Raises:
        ValueError: If a kernel of `old` is not finite.
    """
    names = [name for name in _KERNELS if getattr(new, name, None) is not None]
    for name in names:
        value = ops.convert_to_numpy(ops.cast(getattr(old, name), "float32"))
        if not np.isfinite(value).all():
            raise ValueError(
                f"Expected finite weights. Received: layer {old.name!r}, whose {name} has "
                f"{np.count_nonzero(~np.isfinite(value))} NaN or infinite values. Load an earlier "
                "checkpoint, or start from random weights: carry_weights=False."
            )
        if isinstance(old, K.Conv2DTranspose) and isinstance(new, layers.SelfBinarizingConv2D):
            value = value[::-1, ::-1].swapaxes(2, 3)
        if flips is not None and name == names[-1]:
            value = value * _over_outputs(flips, new)
        size = np.sqrt(np.mean(np.square(value)))
        weight = getattr(new, name)
        if size > 0:
            start = ops.convert_to_numpy(ops.cast(weight, "float32"))
            weight.assign(value * (np.sqrt(np.mean(np.square(start))) / size))


def _over_outputs(flips: np.ndarray, new: Any) -> np.ndarray:
    if isinstance(new, layers.SelfBinarizingConv2DTranspose):
        return flips[:, None]
    if isinstance(new, layers.SelfBinarizingDepthwiseConv2D):
        return flips.reshape(-1, new.depth_multiplier)
    return flips


def binary_normalization(layer: Any, name: str) -> Any:
    """`BinaryBatchNormalization` in the place of Keras's, not built.

    Its momentum is at most 0.9: the values of a network that sharpens change fast.
    """
    return layers.BinaryBatchNormalization(
        axis=layer.axis,
        momentum=min(layer.momentum, 0.9),
        epsilon=layer.epsilon or 1e-7,
        center=layer.center,
        scale=layer.scale,
        synchronized=layer.synchronized,
        name=name,
        dtype=layer.dtype_policy,
    )


def _copy(old: Any, new: Any) -> None:
    """Assigns the value of one weight to another, in memory of its own.

    A JAX array that two weights share is lost to both where a training step of one donates its memory.
    """
    new.assign(ops.convert_to_numpy(old))


def load_normalization(old: Any, new: Any, statistics: bool) -> None:
    """Starts `new` from gamma and beta of `old`, and from its statistics where they still hold."""
    if new.log_gamma is not None:
        gamma = np.abs(ops.convert_to_numpy(old.gamma).astype("float32"))
        new.log_gamma.assign(np.log(np.maximum(gamma, _SMALLEST_GAMMA)))
    if new.beta is not None:
        _copy(old.beta, new.beta)
    if statistics:
        _copy(old.moving_mean, new.moving_mean)
        _copy(old.moving_variance, new.moving_variance)


def reset_statistics(normalization: Any) -> None:
    """Forgets the statistics of values that the new network does not have."""
    normalization.moving_mean.assign(np.zeros(normalization.moving_mean.shape))
    normalization.moving_variance.assign(np.ones(normalization.moving_variance.shape))


def gamma_of(layer: Any) -> np.ndarray | None:
    """The gamma of a batch normalization, or `None` where it has none."""
    gamma = layer.gamma
    return None if gamma is None else ops.convert_to_numpy(gamma).astype("float32")


def separate(
    layer: Any, kind: type, name: str, depthwise_name: str
) -> tuple[tuple[Any, Load], tuple[Any, Load]]:
    """A separable convolution as a depthwise one and one of 1 x 1, each with what loads its weights."""
    first, second = (
        (K.DepthwiseConv2D, K.Conv2D) if kind is K.SeparableConv2D else (K.DepthwiseConv1D, K.Conv1D)
    )
    depthwise = first(
        layer.kernel_size if kind is K.SeparableConv2D else layer.kernel_size[0],
        strides=layer.strides if kind is K.SeparableConv2D else layer.strides[0],
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        data_format=layer.data_format,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        name=depthwise_name,
        dtype=layer.dtype_policy,
    )
    pointwise = second(
        layer.filters,
        1,
        data_format=layer.data_format,
        use_bias=layer.use_bias,
        name=name,
        dtype=layer.dtype_policy,
    )
    depthwise.trainable = pointwise.trainable = layer.trainable

    def load_pointwise() -> None:
        _copy(layer.pointwise_kernel, pointwise.kernel)
        if layer.use_bias:
            _copy(layer.bias, pointwise.bias)

    return (depthwise, lambda: _copy(layer.depthwise_kernel, depthwise.kernel)), (
        pointwise,
        load_pointwise,
    )
