"""The ResNet of 20 layers for CIFAR."""

from __future__ import annotations

from os import PathLike
from typing import Any

import keras

from keras_sbn.models.architecture import Architecture, float_conv, residual

_FILTERS = 16
_SECTIONS = 3
_CONVOLUTIONS = 6


def ResNet20(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | PathLike[str] | None = None,
    input_tensor: Any = None,
    pooling: str | None = None,
    classes: int = 10,
    classifier_activation: Any = "softmax",
    name: str = "resnet20",
) -> Any:
    """ResNet-20 for CIFAR: eighteen binary 3 x 3 convolutions, each with its own shortcut.

    The first convolution and the classifier are float; `keras_sbn.fold(quantize_first_layer=True)` makes
    the convolution int8. Where the map halves, the shortcut is an average over 2 x 2 pixels, twice side
    by side for twice the channels, so that shortcuts have no parameters.

    At `alpha=1`, for 32 x 32 x 3 and 10 classes, it has 269,722 parameters (published: 0.27 million) and
    40.55 million multiply-accumulates, of which 0.44 million are float.

    Source: He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2. What differs: a shortcut
    around every convolution, as in Bi-Real Net (arXiv 1808.00278), in place of one around every two; the
    sign in place of ReLU, and before the convolution; in the shortcut an average and copied channels in
    place of subsampling and zeros.

    Args:
        input_shape: `(height, width, channels)`, height and width at least 4.
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

    >>> model = keras_sbn.models.ResNet20(alpha=1 / 2)
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
        smallest=4,
    )
    filters = net.width(_FILTERS)
    image = net.image()
    x = float_conv(image, filters, 3, 1, "stem")
    for section in range(1, _SECTIONS + 1):
        for index in range(1, _CONVOLUTIONS + 1):
            name, shortcut = f"section_{section}_{index}", x
            strides = 2 if section > 1 and index == 1 else 1
            if strides == 2:
                pool = keras.layers.AveragePooling2D(2, padding="same", name=f"{name}_shortcut_pool")
                shortcut = pool(x)
                shortcut = keras.layers.Concatenate(name=f"{name}_shortcut")([shortcut, shortcut])
                filters *= 2
            x = residual(x, shortcut, filters, strides, name)
    return net.model(image, x, net.float_top)
