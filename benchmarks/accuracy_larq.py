"""A run of the accuracy benchmark with Larq's own layers, in a process with Keras 2.

    TF_USE_LEGACY_KERAS=1 python benchmarks/accuracy_larq.py job.npz result.npz

The job is written by `accuracy.py`: the arrays, and as JSON what to do. The result holds the weights, the
logits of validation and test images, and the loss of every epoch. With a folder in the job, the run is
kept there after every epoch; when the time of the job is over, the process returns `OUT_OF_TIME`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import larq
import numpy as np
import tensorflow as tf
from accuracy_data import Batches
from accuracy_networks import build
from accuracy_pieces import OUT_OF_TIME, Deadline, OutOfTimeError, Pieces, fit_in_pieces, restore

QUANTIZERS = {"ste": "ste_sign", "approx": "approx_sign", "swish": "swish_sign"}


def dataset_of(batches: Batches, steps: int | None) -> Any:
    """The batches of an epoch, one at a time: TensorFlow keeps every array that a `fit` is given.

    Nothing is tuned: the end of an epoch would wait for the thread that does so, for 40 s here. And the
    number of batches is known: a step that finds none has counted itself already, and Adam sees it.
    """
    x, y = batches[0]
    signature = (tf.TensorSpec(x.shape, x.dtype), tf.TensorSpec(y.shape, y.dtype))
    count = len(batches) if steps is None else steps
    made = tf.data.Dataset.from_generator(
        lambda: (batches[index] for index in range(count)), output_signature=signature
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    return made.apply(tf.data.experimental.assert_cardinality(count)).with_options(options)


class LarqKit:
    """Larq's layers, arranged as the straight-through ones of `accuracy_methods.py`."""

    keras = tf.keras

    def __init__(self, activation: str) -> None:
        self._activation = activation

    def conv(self, filters: int, strides: int, first: bool) -> Any:
        return larq.layers.QuantConv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            pad_values=0.0 if first else 1.0,
            **self._kernel(),
        )

    def dense(self, units: int) -> Any:
        return larq.layers.QuantDense(units, **self._kernel())

    def normalization(self) -> Any:
        return tf.keras.layers.BatchNormalization(momentum=0.9)

    def logits(self) -> Any:
        return self.normalization()

    def activation(self) -> Any:
        return tf.keras.layers.Activation(larq.quantizers.get(QUANTIZERS[self._activation]))

    @staticmethod
    def _kernel() -> dict[str, Any]:
        return {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}


def main() -> None:
    """Trains and writes the result."""
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        arrays = dict(stored)
    job = json.loads(str(arrays.pop("job")))
    tf.keras.utils.set_random_seed(job["seed"])
    model = build(job["network"], LarqKit(job["activation"]), arrays["x"].shape[1:])
    weights = [arrays[f"weight_{i}"] for i in range(len(model.get_weights()))]
    model.set_weights(weights)
    model.compile(
        tf.keras.optimizers.Adam(job["learning_rates"][0]),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    order = job["batch_size"], job["seed"], job["shift"], job["flip"]
    batches = Batches(arrays["x"], arrays["y"], *order)
    minutes = None if job["minutes"] is None else max(job["minutes"], 1e-6)
    folder = None if job["folder"] is None else Path(job["folder"])
    pieces = Pieces(folder, Deadline(minutes))
    state = pieces.load()
    restore(model, state)
    for epoch in range(state.epoch, job["epochs"]):
        batches.begin(epoch)
        model.optimizer.learning_rate = job["learning_rates"][epoch]
        try:
            model.fit(
                dataset_of(batches, job["steps"]),
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
                callbacks=[fit_in_pieces(tf.keras, pieces, state)],
            )
            if state.epoch < job["epochs"]:
                pieces.deadline.check()
        except OutOfTimeError:
            sys.exit(OUT_OF_TIME)
    result = {f"weight_{i}": weight for i, weight in enumerate(model.get_weights())}
    for name in ("validation", "test"):
        result[name] = model.predict(arrays[name], batch_size=500, verbose=0)
    np.savez(
        sys.argv[2],
        loss=np.array(state.losses),
        cpu_seconds=state.cpu_seconds,
        **result,
    )


if __name__ == "__main__":
    main()
