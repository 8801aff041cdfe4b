"""BinaryNet, a small VGG network for CIFAR-10."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.layers import SelfBinarizingConv2D
from keras_sbn.models.architecture import Architecture, sign

_FILTERS = (128, 128, 256, 256, 512, 512)
_UNITS = (1024, 1024)


def BinaryNet(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: Any = "softmax",
    name: str = "binary_net",
) -> Any:
    """BinaryNet (VGG-small): six binary convolutions and three binary dense layers.

    Everything is binary but the image that the first convolution reads. On 8-bit images that one sums
    integers as well (`keras_sbn.fold(model, input_scaling=...)`), because it has no border.

    At `alpha=1`, for 32 x 32 x 3 and 10 classes, it has 10,352,000 binary weights and 7,700 float
    parameters, 511.0 million binary and 3.1 million other multiply-accumulates: the figures of Larq's
    tutorial.

    Source: Courbariaux et al., Binarized Neural Networks, arXiv 1602.02830, section 2.3, in the shapes of
    Larq's tutorial (docs.larq.dev/larq/tutorials/binarynet_cifar10). What differs: the first convolution
    has no border, as in the tutorial; the others are padded with +1 in place of 0; the layers are
    self-binarizing in place of straight-through.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 10.
        alpha: Width multiplier: the number of filters and units of every layer is multiplied by it and
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

    >>> model = keras_sbn.models.BinaryNet(alpha=1 / 16, classifier_activation=None)
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
        smallest=10,
    )
    image = x = net.image()
    for index, filters in enumerate(_FILTERS):
        padding = "same" if index else "valid"
        x = SelfBinarizingConv2D(net.width(filters), 3, padding=padding, name=f"conv_{index + 1}")(x)
        if index % 2:
            x = keras.layers.MaxPooling2D(name=f"pool_{index + 1}")(x)
        x = sign(x, f"conv_{index + 1}")
    return net.model(image, x, net.binary_top(_UNITS))
