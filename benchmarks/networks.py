"""The networks that the benchmarks share: `keras_sbn.models.BinaryNet`, and its shapes in float."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn import layers, models

SHAPE = (32, 32, 3)
FILTERS = (128, 128, 256, 256, 512, 512)
PADDING = ("valid", *["same"] * 5)
UNITS = (1024, 1024)
#: Weights of BinaryNet's kernels.
WEIGHTS = 3 * 3 * (3 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512) + (
    3 * 3 * 512 * 1024 + 1024 * 1024 + 1024 * 10
)


def binary_net(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Any:
    """BinaryNet in our layers, hard, with random weights."""
    model = models.BinaryNet(shape, classifier_activation=None)
    randomize(model, seed)
    keras_sbn.binarize(model)
    return model


def float_net(seed: int = 0) -> Any:
    """The same shapes in Keras's float layers, with ReLU."""
    inputs = x = keras.Input(SHAPE)
    for index, filters in enumerate(FILTERS):
        x = keras.layers.Conv2D(filters, 3, padding=PADDING[index], use_bias=False)(x)
        x = keras.layers.MaxPooling2D()(x) if index % 2 else x
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(scale=False)(x))
    x = keras.layers.Flatten()(x)
    for units in UNITS:
        x = keras.layers.Dense(units, use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(scale=False)(x))
    x = keras.layers.Dense(10, use_bias=False)(x)
    model = keras.Model(inputs, keras.layers.BatchNormalization(scale=False)(x), name="float_net")
    randomize(model, seed)
    return model


def residual_net(seed: int = 0, shape: tuple[int, int, int] = (56, 56, 3)) -> Any:
    """A small residual network shaped as QuickNet: a float stem, sections of binary 3 x 3 convolutions.

    Every binary convolution is added to what it read; between the sections a float 1 x 1 convolution
    doubles the channels after a pool.
    """
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    for section, filters in enumerate((32, 64, 128)):
        if section:
            x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
            x = keras.layers.Conv2D(filters, 1, use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
        for _ in range(3):
            y = layers.SelfBinarizingConv2D(filters, 3, padding="same", binarize_input=True)(x)
            x = keras.layers.Add()([x, keras.layers.BatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    model = keras.Model(inputs, keras.layers.Dense(10)(x), name="residual_net")
    randomize(model, seed)
    keras_sbn.binarize(model)
    return model


def randomize(model: Any, seed: int) -> None:
    """Gives every weight but the sharpness a random value, with statistics that fit the layer before."""
    rng = np.random.default_rng(seed)
    products = 1
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name.endswith("_sharpness"):
                continue
            shape = tuple(weight.shape)
            if weight.name == "kernel":
                products = int(np.prod(shape[:-1]))
                own = isinstance(layer, layers.SelfBinarizingConv2D | layers.SelfBinarizingDense)
                weight.assign(rng.normal(0, 1 if own else products**-0.5, shape))
                products = products if own else 1
            elif weight.name == "moving_variance":
                weight.assign(products * rng.uniform(0.5, 1.5, shape))
            elif weight.name == "moving_mean":
                weight.assign(products**0.5 * rng.normal(0, 0.3, shape))
            elif weight.name == "gamma":
                weight.assign(rng.uniform(0.5, 1.5, shape))
            else:
                weight.assign(rng.normal(0, 0.3, shape))


def images(samples: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """8-bit images over 128, less 1: sums of them are exact in float32."""
    pixels = np.random.default_rng(seed).integers(0, 256, (samples, *shape))
    return (pixels / 128 - 1).astype("float32")
