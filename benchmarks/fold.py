"""Time of the fold, by depth, and of a folded network against the hard one, per batch.

    python benchmarks/fold.py

`BinaryNet` and `BiRealResNet18` of `keras_sbn.models`. The hard and the folded network take turns batch
by batch, so that whatever else the machine does meets both. Then networks of as many blocks of a binary
convolution, batch normalization and a sign as `--depths` says, in CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import keras
import numpy as np

import keras_sbn
from keras_sbn import models
from keras_sbn.tables import format_table


def main() -> None:
    """Prints a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=15, help="timed batches a model")
    parser.add_argument(
        "--depths", type=int, nargs="*", default=[10, 100, 300, 1000], help="blocks of the deep networks"
    )
    options = parser.parse_args()
    rows = [
        _measure(models.BinaryNet(classifier_activation=None), 64, options.batches),
        _measure(models.BiRealResNet18(classifier_activation=None), 4, options.batches),
    ]
    header = ("network", "fold, s", "batch", "hard, ms", "folded, ms", "folded / hard")
    print(format_table(header, rows, "lrrrrr"))
    deep = [_measure_depth(blocks) for blocks in options.depths]
    print()
    print(format_table(("blocks", "fold, CPU s", "s a 100 blocks"), deep, "rrr"))


def _measure_depth(blocks: int) -> tuple[object, ...]:
    # Keras goes from layer to layer by recursion when it makes a model.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 10 * blocks))
    inputs = x = keras.Input((4, 4, 8))
    for _ in range(blocks):
        x = keras_sbn.layers.SelfBinarizingConv2D(8, 3, padding="same")(x)
        x = keras_sbn.layers.BinaryBatchNormalization()(x)
        x = keras_sbn.layers.SelfBinarizingActivation()(x)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    started = time.process_time()
    keras_sbn.fold(model)
    seconds = time.process_time() - started
    return blocks, f"{seconds:.2f}", f"{100 * seconds / blocks:.2f}"


def _measure(model: Any, batch: int, batches: int) -> tuple[object, ...]:
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
