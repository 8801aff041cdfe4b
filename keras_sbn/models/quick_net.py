"""QuickNet, made for the Larq Compute Engine, in three sizes."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.models.architecture import Architecture, normalize, residual
from keras_sbn.models.blur import Blur


def QuickNetSmall(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "quicknet_small",
) -> Any:
    """QuickNet with fewer filters in the early, large maps; all else as in `QuickNet`.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, it has 12,655,688 parameters, 1156.1 million
    binary and 15.5 million float multiply-accumulates: the figures of Larq Zoo, which counts no
    multiply-accumulates (0.5 million) for the blur.

    Source: Bannink et al., Larq Compute Engine, arXiv 2011.09398, section 4, and `larq_zoo.sota`. What
    differs: the binary convolutions are self-binarizing in place of straight-through.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 16.
        alpha: Width multiplier: the number of filters of every layer is multiplied by it and
            rounded to a multiple of 8, at least 8.
        include_top: Whether the classifier is part of the network.
        weights: `None`, or the path of a `.weights.h5` or `.keras` file to load.
        input_tensor: Keras tensor to take the image from, in place of an input of `input_shape`.
        pooling: Without the classifier: `None` gives the last map, `"avg"` or `"max"` its global pooling.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; `None` gives logits.
        name: Name of the model.

    Returns:
        A Functional `keras.Model`, soft, with sharpness 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = keras_sbn.models.QuickNetSmall((32, 32, 3), alpha=1 / 8, classes=10)
    >>> model.output_shape
    (None, 10)
    """
    net = Architecture(
        name=name,
        input_shape=input_shape,
        input_tensor=input_tensor,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        alpha=alpha,
        classifier_activation=classifier_activation,
        weights=weights,
        smallest=16,
    )
    return _build(
        net,
        filters=(32, 64, 256, 512),
        blocks=(4, 4, 4, 4),
    )


def QuickNet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "quicknet",
) -> Any:
    """QuickNet: sixteen binary convolutions between float ones that are small.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, it has 13,234,088 parameters, 1849.7 million
    binary and 28.9 million float multiply-accumulates: the figures of Larq Zoo, which counts no
    multiply-accumulates (0.8 million) for the blur.

    A float stem halves the image twice; then follow binary 3 x 3 convolutions with ReLU, each with its
    own shortcut; between the sections a blurred pool and a float 1 x 1 convolution change the shape.

    Source: Bannink et al., Larq Compute Engine, arXiv 2011.09398, section 4, and `larq_zoo.sota`. What
    differs: the binary convolutions are self-binarizing in place of straight-through.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 16.
        alpha: Width multiplier: the number of filters of every layer is multiplied by it and
            rounded to a multiple of 8, at least 8.
        include_top: Whether the classifier is part of the network.
        weights: `None`, or the path of a `.weights.h5` or `.keras` file to load.
        input_tensor: Keras tensor to take the image from, in place of an input of `input_shape`.
        pooling: Without the classifier: `None` gives the last map, `"avg"` or `"max"` its global pooling.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; `None` gives logits.
        name: Name of the model.

    Returns:
        A Functional `keras.Model`, soft, with sharpness 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = keras_sbn.models.QuickNet((32, 32, 3), alpha=1 / 8, classes=10)
    >>> model.output_shape
    (None, 10)
    """
    net = Architecture(
        name=name,
        input_shape=input_shape,
        input_tensor=input_tensor,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        alpha=alpha,
        classifier_activation=classifier_activation,
        weights=weights,
        smallest=16,
    )
    return _build(
        net,
        filters=(64, 128, 256, 512),
        blocks=(4, 4, 4, 4),
    )


def QuickNetLarge(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "quicknet_large",
) -> Any:
    """QuickNet with thirty-two binary convolutions; all else as in `QuickNet`.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, it has 23,342,248 parameters, 3699.4 million
    binary and 28.9 million float multiply-accumulates: the figures of Larq Zoo, which counts no
    multiply-accumulates (0.8 million) for the blur.

    Source: Bannink et al., Larq Compute Engine, arXiv 2011.09398, section 4, and `larq_zoo.sota`. What
    differs: the binary convolutions are self-binarizing in place of straight-through.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 16.
        alpha: Width multiplier: the number of filters of every layer is multiplied by it and
            rounded to a multiple of 8, at least 8.
        include_top: Whether the classifier is part of the network.
        weights: `None`, or the path of a `.weights.h5` or `.keras` file to load.
        input_tensor: Keras tensor to take the image from, in place of an input of `input_shape`.
        pooling: Without the classifier: `None` gives the last map, `"avg"` or `"max"` its global pooling.
        classes: Number of classes.
        classifier_activation: Activation of the classifier; `None` gives logits.
        name: Name of the model.

    Returns:
        A Functional `keras.Model`, soft, with sharpness 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = keras_sbn.models.QuickNetLarge((32, 32, 3), alpha=1 / 8, classes=10)
    >>> model.output_shape
    (None, 10)
    """
    net = Architecture(
        name=name,
        input_shape=input_shape,
        input_tensor=input_tensor,
        include_top=include_top,
        pooling=pooling,
        classes=classes,
        alpha=alpha,
        classifier_activation=classifier_activation,
        weights=weights,
        smallest=16,
    )
    return _build(
        net,
        filters=(64, 128, 256, 512),
        blocks=(6, 8, 12, 6),
    )


def _build(net: Architecture, filters: tuple[int, ...], blocks: tuple[int, ...]) -> Any:
    image = net.image()
    x = _stem(net, image, net.width(filters[0]))
    for section, (width, count) in enumerate(zip(filters, blocks, strict=True), 1):
        if section > 1:
            x = _transition(x, net.width(width), f"transition_{section}")
        for index in range(1, count + 1):
            name = f"section_{section}_{index}"
            x = residual(x, x, net.width(width), 1, name, activation="relu")

    def top(features: Any) -> Any:
        return net.float_top(keras.layers.ReLU(name="last_relu")(features))

    return net.model(image, x, top)


def _stem(net: Architecture, image: Any, filters: int) -> Any:
    x = keras.layers.Conv2D(
        max(filters // 4, 1),
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name="stem_conv_1",
    )(image)
    x = keras.layers.ReLU(name="stem_relu")(normalize(x, "stem_1"))
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="stem_depthwise")(
        x
    )
    x = normalize(x, "stem_2", scale=False, center=False)
    x = keras.layers.Conv2D(
        filters, 1, use_bias=False, kernel_initializer="he_normal", name="stem_conv_2"
    )(x)
    return normalize(x, "stem_3")


def _transition(x: Any, filters: int, name: str) -> Any:
    """Halves the map with a maximum over 2 x 2 and a fixed blur, and changes the channels."""
    x = keras.layers.ReLU(name=f"{name}_relu")(x)
    if min(x.shape[1:3]) > 1:
        x = keras.layers.MaxPooling2D(2, strides=1, name=f"{name}_pool")(x)
    x = keras.layers.DepthwiseConv2D(
        3,
        strides=2,
        padding="same",
        use_bias=False,
        depthwise_initializer=Blur(),
        trainable=False,
        name=f"{name}_blur",
    )(x)
    x = keras.layers.Conv2D(
        filters, 1, use_bias=False, kernel_initializer="glorot_normal", name=f"{name}_conv"
    )(x)
    return normalize(x, name)
