"""Time of the fold, and of a folded network against the hard one, per batch.

    python benchmarks/fold.py

BinaryNet for CIFAR-10 (the Larq tutorial's shapes) and a Bi-Real ResNet-18 for 224 x 224 images. The two
networks take turns batch by batch, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn.layers import (
    BinaryBatchNormalization,
    SelfBinarizingActivation,
    SelfBinarizingConv2D,
    SelfBinarizingDense,
)
from keras_sbn.tables import format_table


def binary_net() -> Any:
    """BinaryNet for CIFAR-10: six convolutions, three dense layers."""
    inputs = x = keras.Input((32, 32, 3))
    for index, filters in enumerate((128, 128, 256, 256, 512, 512)):
        x = SelfBinarizingConv2D(filters, 3, padding="same")(x)
        if index % 2:
            x = keras.layers.MaxPooling2D()(x)
        x = SelfBinarizingActivation()(BinaryBatchNormalization()(x))
    x = keras.layers.Flatten()(x)
    for _ in range(2):
        x = SelfBinarizingActivation()(BinaryBatchNormalization()(SelfBinarizingDense(1024)(x)))
    return keras.Model(inputs, BinaryBatchNormalization()(SelfBinarizingDense(10)(x)), name="BinaryNet")


def bireal_resnet18() -> Any:
    """Bi-Real Net 18 (Liu et al., arXiv 1808.00278): a shortcut around every binary convolution."""
    inputs = keras.Input((224, 224, 3))
    x = keras.layers.Conv2D(64, 7, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(keras.layers.BatchNormalization()(x))
    for filters in (64, 128, 256, 512):
        for block in range(4):
            strides = 2 if filters > 64 and block == 0 else 1
            y = SelfBinarizingConv2D(filters, 3, strides=strides, padding="same", binarize_input=True)(x)
            if strides == 2:
                x = keras.layers.Conv2D(filters, 1, use_bias=False)(keras.layers.AveragePooling2D(2)(x))
                x = keras.layers.BatchNormalization()(x)
            x = keras.layers.Add()([x, keras.layers.BatchNormalization()(y)])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1000)(x), name="BiRealResNet18")


def main() -> None:
    """Prints a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=15, help="timed batches a model")
    options = parser.parse_args()
    rows = [
        _measure(binary_net, 64, options.batches),
        _measure(bireal_resnet18, 4, options.batches),
    ]
    header = ("network", "fold, s", "batch", "hard, ms", "folded, ms", "folded / hard")
    print(format_table(header, rows, "lrrrrr"))


def _measure(build: Callable[[], Any], batch: int, batches: int) -> tuple[object, ...]:
    model = build()
    keras_sbn.binarize(model)
    started = time.perf_counter()
    folded = keras_sbn.fold(model)
    seconds = time.perf_counter() - started
    x = np.random.default_rng(0).random((batch, *model.input_shape[1:]), np.float32)
    times: dict[int, list[float]] = {id(model): [], id(folded): []}
    for turn in range(batches + 2):
        for network in (model, folded):
            started = time.perf_counter()
            network.predict_on_batch(x)
            if turn >= 2:
                times[id(network)].append(1e3 * (time.perf_counter() - started))
    hard, quick = (statistics.median(times[id(network)]) for network in (model, folded))
    figures = (f"{hard:.1f}", f"{quick:.1f}", f"{quick / hard:.2f}")
    return (model.name, f"{seconds:.2f}", batch, *figures)


if __name__ == "__main__":
    main()
