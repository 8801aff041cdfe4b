"""Bi-Real Net: a ResNet with a shortcut around every binary convolution."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.models.architecture import Architecture, float_conv, normalize, residual

_FILTERS = (64, 128, 256, 512)


def BiRealResNet18(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "bi_real_resnet18",
) -> Any:
    """Bi-Real Net of 18 layers: the real-valued sums of a ResNet go around every binary convolution.

    The first convolution, the 1 x 1 convolutions of the three shortcuts that change the shape, and the
    classifier are float; `keras_sbn.fold(quantize_first_layer=True)` makes the first one int8.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, its 11,689,512 parameters take 4,189,344 bytes, and
    it has 1676.3 million binary and 137.8 million float multiply-accumulates: the figures of Larq Zoo
    (whose documentation counts all four vectors of each batch normalization).

    Source: Liu et al., Bi-Real Net, arXiv 1808.00278, as in Larq Zoo's `BiRealNet`. What differs: the
    binary convolutions are padded with +1 in place of 0; they are self-binarizing, with tanh in place of
    the piecewise polynomial; and they have no magnitude, which batch normalization takes over.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 8.
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

    >>> model = keras_sbn.models.BiRealResNet18((32, 32, 3), alpha=1 / 8, classes=10)
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
        smallest=8,
    )
    return _build(net, (2, 2, 2, 2))


def BiRealResNet34(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "bi_real_resnet34",
) -> Any:
    """Bi-Real Net of 34 layers; all else as in `BiRealResNet18`.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, its parameters take 43.9 Mbit (43.7 in the paper's
    table 3), and its float and a 64th of its binary multiply-accumulates are 193 million, as there.

    Source: Liu et al., Bi-Real Net, arXiv 1808.00278, table 3.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 8.
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

    >>> model = keras_sbn.models.BiRealResNet34((32, 32, 3), alpha=1 / 8, classes=10)
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
        smallest=8,
    )
    return _build(net, (3, 4, 6, 3))


def _build(net: Architecture, blocks: tuple[int, ...]) -> Any:
    """`blocks` counts ResNet's blocks of two convolutions; here each convolution has its shortcut."""
    image = net.image()
    x = float_conv(image, net.width(_FILTERS[0]), 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for section, (filters, count) in enumerate(zip(_FILTERS, blocks, strict=True), 1):
        for index in range(1, 2 * count + 1):
            name, shortcut = f"section_{section}_{index}", x
            strides = 2 if section > 1 and index == 1 else 1
            if strides == 2:
                shortcut = keras.layers.AveragePooling2D(2, padding="same", name=f"{name}_shortcut_pool")(
                    x
                )
                shortcut = keras.layers.Conv2D(
                    net.width(filters), 1, use_bias=False, name=f"{name}_shortcut_conv"
                )(shortcut)
                shortcut = normalize(shortcut, f"{name}_shortcut")
            x = residual(x, shortcut, net.width(filters), strides, name)
    return net.model(image, x, net.float_top)
