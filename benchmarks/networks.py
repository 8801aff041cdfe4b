"""The networks that the benchmarks share, in our layers and in float ones.

BinaryNet for CIFAR-10 as in Larq's tutorial: six 3 x 3 convolutions of 128, 128, 256, 256, 512, 512
filters, the first without padding, a pool after every second, dense layers of 1024, 1024 and 10, and
batch normalization without a scale after each.

A residual network shaped as QuickNet: a float stem, three sections of three binary 3 x 3 convolutions of
64, 128 and 256 filters, each added to what it read, and between the sections a pool and a float 1 x 1
convolution. One more has these convolutions binary as well: its only rounded numbers are those of batch
normalization and the sums of blocks, so that two runtimes can be equal bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn import layers, models

SHAPE = (32, 32, 3)
#: Where `train.py` leaves the networks it trained.
TRAINED = Path(__file__).parent.parent / "out" / "benchmarks"
FILTERS = (128, 128, 256, 256, 512, 512)
PADDING = ("valid", *["same"] * 5)
UNITS = (1024, 1024)
#: Filters of the residual network's sections, and binary convolutions in each.
SECTIONS = (64, 128, 256)
BLOCKS = 3
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


def residual_net(seed: int = 0) -> Any:
    """The residual network in our layers, hard, with random weights."""

    def block(x: Any, filters: int) -> Any:
        y = layers.SelfBinarizingConv2D(filters, 3, padding="same", binarize_input=True)(x)
        return keras.layers.Add()([x, keras.layers.BatchNormalization()(y)])

    model = _residual(block, "residual_net")
    randomize(model, seed)
    keras_sbn.binarize(model)
    return model


def binary_residual_net(seed: int = 0) -> Any:
    """The residual network with nothing but binary convolutions, hard, with random weights."""

    def convolve(x: Any, filters: int, window: int, binarize_input: bool = True) -> Any:
        convolution = layers.SelfBinarizingConv2D(
            filters, window, padding="same", binarize_input=binarize_input
        )
        return keras.layers.BatchNormalization()(convolution(x))

    inputs = keras.Input(SHAPE)
    x = convolve(inputs, SECTIONS[0], 3, binarize_input=False)
    for section, filters in enumerate(SECTIONS):
        if section:
            x = convolve(keras.layers.MaxPooling2D()(x), filters, 1)
        for _ in range(BLOCKS):
            x = keras.layers.Add()([x, convolve(x, filters, 3)])
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(x))
    x = layers.SelfBinarizingDense(10, binarize_input=True)(x)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x), name="binary_residual_net")
    randomize(model, seed)
    keras_sbn.binarize(model)
    return model


def float_residual_net(seed: int = 0) -> Any:
    """The same shapes in Keras's float layers, with ReLU after each convolution."""

    def block(x: Any, filters: int) -> Any:
        y = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        return keras.layers.Add()([x, y])

    model = _residual(block, "float_residual_net")
    randomize(model, seed)
    return model


def _residual(block: Any, name: str) -> Any:
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(SECTIONS[0], 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    for section, filters in enumerate(SECTIONS):
        if section:
            x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
            x = keras.layers.Conv2D(filters, 1, use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
        for _ in range(BLOCKS):
            x = block(x, filters)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x), name=name)


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


#: By name: the network in our layers, and in float ones.
NETWORKS = {"BinaryNet": (binary_net, float_net), "residual": (residual_net, float_residual_net)}


def trained(name: str) -> Any:
    """The hard network that `train.py` left.

    Raises:
        FileNotFoundError: If it did not.
    """
    path = TRAINED / f"{name}.keras"
    if not path.exists():
        raise FileNotFoundError(f"Expected {path}, which benchmarks/train.py writes. Received: none")
    return keras.models.load_model(path)


def scaled(pixels: np.ndarray) -> np.ndarray:
    """8-bit images over 128, less 1: sums of them are exact in float32."""
    return (pixels / 128 - 1).astype("float32")


def images(samples: int, folder: Path | None = None, seed: int = 0) -> np.ndarray:
    """The first images of a folder's classes, `folder/class/image`, or random ones."""
    if folder is not None:
        return scaled(read_images(folder, samples)[0])
    return scaled(np.random.default_rng(seed).integers(0, 256, (samples, *SHAPE)))


def read_images(folder: Path, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of `folder/class/image`, classes by turns, and the numbers of their classes."""
    from PIL import Image

    classes = [sorted(path.iterdir()) for path in sorted(folder.iterdir()) if path.is_dir()]
    if not classes:
        raise ValueError(f"Expected a folder of a folder of images a class. Received: {folder}")
    found = [(path, k) for turn in zip(*classes, strict=False) for k, path in enumerate(turn)][:samples]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in found])
    if pixels.shape[1:] != SHAPE:
        raise ValueError(f"Expected images of shape {SHAPE}. Received: {pixels.shape[1:]}")
    return pixels, np.array([k for _, k in found])
