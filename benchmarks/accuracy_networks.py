"""The architectures of the accuracy benchmark, written once and built with the layers of any method.

A kit holds the layers of a method: `conv(filters, strides, first)`, `dense(units)`, `normalization()`,
`logits()`, the normalization of the last layer, `activation()`, and `keras`, the Keras they belong to:
Keras 3, or for Larq Keras 2.
"""

from __future__ import annotations

from typing import Any

#: Convolutions of 3 x 3 ("M" is a max-pooling after the convolution before it), then dense layers.
CHAINS: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
    "digits": ((16, 32, "M", 32, "M"), ()),
    "mnist": ((8, 16, "M", 16, "M", 32), ()),
    "vgg16": ((16, 16, "M", 32, "M", 64), ()),
    "mnist-small": ((16, 16, "M", 32, 32, "M", 64), ()),
    "vgg32": ((32, 32, "M", 64, 64, "M", 128, 128, "M"), ()),
    "binarynet": ((128, 128, "M", 256, 256, "M", 512, 512, "M"), (1024, 1024)),
    "binarynet-4": ((32, 32, "M", 64, 64, "M", 128, 128, "M"), (256, 256)),
    "binarynet-8": ((16, 16, "M", 32, 32, "M", 64, 64, "M"), (128, 128)),
}
#: Widths of the sections, and binary convolutions in each.
RESIDUAL: dict[str, tuple[tuple[int, ...], int]] = {
    "birealnet18": ((64, 128, 256, 512), 4),
    "resnet20": ((16, 32, 64), 6),
}
CLASSES = 10


def build(network: str, kit: Any, shape: tuple[int, ...], classes: int = CLASSES) -> Any:
    """Returns the network, uncompiled; its outputs are logits."""
    if network in RESIDUAL:
        return _bi_real_net(network, kit, shape, classes)
    filters, units = CHAINS[network]
    keras = kit.keras
    inputs = x = keras.Input(shape)
    for index, width in enumerate(filters):
        if width == "M":
            continue
        x = kit.conv(width, 1, first=index == 0)(x)
        if filters[index + 1 : index + 2] == ("M",):
            x = keras.layers.MaxPooling2D(2)(x)
        x = kit.activation()(kit.normalization()(x))
    x = keras.layers.Flatten()(x)
    for width in units:
        x = kit.activation()(kit.normalization()(kit.dense(width)(x)))
    return keras.Model(inputs, kit.logits()(kit.dense(classes)(x)), name=network)


def _bi_real_net(network: str, kit: Any, shape: tuple[int, ...], classes: int) -> Any:
    """A residual network for images of 32 x 32 in the form of Bi-Real Net (arXiv 1808.00278).

    Every binary convolution has its own shortcut; stem, the 1 x 1 convolutions of the shortcuts that
    halve the map, and the classifier are float.
    """
    keras = kit.keras
    widths, depth = RESIDUAL[network]
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(widths[0], 3, padding="same", use_bias=False)(inputs)
    x = kit.normalization()(x)
    for section, width in enumerate(widths):
        for block in range(depth):
            strides = 2 if section and not block else 1
            shortcut = x
            if strides == 2:
                shortcut = keras.layers.AveragePooling2D(2)(x)
                shortcut = keras.layers.Conv2D(width, 1, use_bias=False)(shortcut)
                shortcut = kit.normalization()(shortcut)
            x = kit.conv(width, strides, first=False)(kit.activation()(x))
            x = keras.layers.Add()([kit.normalization()(x), shortcut])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x), name=network)
