"""AlexNet in binary layers."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.layers import SelfBinarizingConv2D
from keras_sbn.models.architecture import Architecture, sign

#: Filters, window, stride, and whether a pool follows.
_CONVOLUTIONS = (
    (64, 11, 4, True),
    (192, 5, 1, True),
    (384, 3, 1, False),
    (384, 3, 1, False),
    (256, 3, 1, True),
)
_UNITS = (4096, 4096)


def BinaryAlexNet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: Any = "softmax",
    name: str = "binary_alex_net",
) -> Any:
    """Binary AlexNet: five binary convolutions and three binary dense layers.

    At `alpha=1`, for 224 x 224 x 3 and 1000 classes, its 61,848,720 parameters take 7,812,248 bytes, and
    it has 768.5 million binary and 72.9 million other multiply-accumulates, those of the first layer:
    the figures of Larq Zoo (whose documentation counts a third vector of each batch normalization).

    Source: Hubara et al., Binarized Neural Networks, NIPS 2016, as in Larq Zoo's `BinaryAlexNet`. What
    differs: binary layers are padded with +1 in place of 0, and are self-binarizing in place of
    straight-through.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 57.
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

    >>> model = keras_sbn.models.BinaryAlexNet((64, 64, 3), alpha=1 / 16, classes=5)
    >>> model.output_shape
    (None, 5)
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
        smallest=57,
    )
    image = x = net.image()
    for index, (filters, window, strides, pool) in enumerate(_CONVOLUTIONS, 1):
        x = SelfBinarizingConv2D(
            net.width(filters),
            window,
            strides=strides,
            padding="same",
            # The border of the image is black or grey; that of a binary map is +1.
            pad_value=0.0 if index == 1 else 1.0,
            name=f"conv_{index}",
        )(x)
        if pool:
            x = keras.layers.MaxPooling2D(3, strides=2, name=f"pool_{index}")(x)
        x = sign(x, f"conv_{index}")
    return net.model(image, x, net.binary_top(_UNITS))
