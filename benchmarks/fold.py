"""Time of the fold, and of a folded network against the hard one, per batch.

    python benchmarks/fold.py

`BinaryNet` and `BiRealResNet18` of `keras_sbn.models`. The hard and the folded network take turns batch
by batch, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import keras_sbn
from keras_sbn import models
from keras_sbn.tables import format_table


def main() -> None:
    """Prints a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batches", type=int, default=15, help="timed batches a model")
    options = parser.parse_args()
    rows = [
        _measure(models.BinaryNet(classifier_activation=None), 64, options.batches),
        _measure(models.BiRealResNet18(classifier_activation=None), 4, options.batches),
    ]
    header = ("network", "fold, s", "batch", "hard, ms", "folded, ms", "folded / hard")
    print(format_table(header, rows, "lrrrrr"))


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
