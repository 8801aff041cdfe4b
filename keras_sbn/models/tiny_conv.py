"""A small network for small inputs."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.layers import SelfBinarizingConv2D
from keras_sbn.models.architecture import Architecture, sign

_FILTERS = (32, 64)
_UNITS = (128,)


def TinyConv(
    input_shape: tuple[int, int, int] = (8, 8, 1),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: Any = "softmax",
    name: str = "tiny_conv",
) -> Any:
    """A few binary convolutions and two binary dense layers, for digits and spectrograms.

    A convolution of 32 filters, then ones of 64, each with a pool, until the shorter side of the map is 2
    or 3: two for digits of 8 x 8, three for 28 x 28, four for 49 x 40 spectrograms of keyword spotting.
    Everything is binary but the image that the first convolution reads; its border is 0, so that on 8-bit
    images scaled without an offset it sums integers as well
    (`keras_sbn.fold(model, input_scaling=(1 / 255, 0))`).

    At `alpha=1`, for 8 x 8 x 1 and 10 classes, it has 89,632 binary weights: 11 kB.

    Source: this package; the shape is that of small networks for keyword spotting (Sainath and Parada,
    Convolutional Neural Networks for Small-footprint Keyword Spotting, Interspeech 2015), with small
    windows in place of large ones.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 2.
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

    >>> model = keras_sbn.models.TinyConv((49, 40, 1), classes=12)
    >>> model.output_shape
    (None, 12)
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
        smallest=2,
    )
    image = x = net.image()
    first = SelfBinarizingConv2D(net.width(_FILTERS[0]), 3, padding="same", pad_value=0.0, name="conv_1")
    x = sign(first(x), "conv_1")
    index = 1
    while index == 1 or min(x.shape[1:3]) > 3:
        index += 1
        x = SelfBinarizingConv2D(net.width(_FILTERS[1]), 3, padding="same", name=f"conv_{index}")(x)
        x = sign(keras.layers.MaxPooling2D(name=f"pool_{index}")(x), f"conv_{index}")
    return net.model(image, x, net.binary_top(_UNITS))
