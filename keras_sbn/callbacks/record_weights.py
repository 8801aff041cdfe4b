"""The callback that keeps the histograms of the kernels, to be drawn after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.binarize import effective_kernel, self_binarizing_layers

#: The edges of the bins that every histogram has.
BIN_EDGES = np.linspace(-1.0, 1.0, 42)


@dataclass(frozen=True)
class WeightSnapshot:
    """The kernels of a network at one moment.

    Attributes:
        epoch: Number of epochs that lie behind; 0 before training.
        sharpness: Largest sharpness of the kernels.
        counts: From layer name to the number of kernel values in each bin of `BIN_EDGES`.
    """

    epoch: int
    sharpness: float
    counts: dict[str, np.ndarray]


class RecordWeights(keras.callbacks.Callback):
    """Keeps a histogram of every binary kernel, before training and after epochs.

    The kernels are those the network computes with, `tanh(nu * w / rms(w))`, so the histograms show
    weights becoming -1 and +1. `keras_sbn.plots.weight_histograms` draws them.

    Args:
        every: Take a snapshot every that many epochs.

    Attributes:
        snapshots: One `WeightSnapshot` a moment.

    Raises:
        ValueError: If `every` is not a positive integer, or the model has no self-binarizing layer.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> record = keras_sbn.callbacks.RecordWeights()
    >>> data = np.ones((8, 4)), np.ones((8, 2))
    >>> history = model.fit(*data, epochs=2, callbacks=[record], verbose=0)
    >>> [snapshot.epoch for snapshot in record.snapshots]
    [0, 1, 2]
    """

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        if not isinstance(every, int) or every <= 0:
            raise ValueError(f"Expected `every` to be a positive number of epochs. Received: {every=}")
        self.every = every
        self.snapshots: list[WeightSnapshot] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.snapshots = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.snapshots:
            self.snapshots.append(take_snapshot(self.model, epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self.snapshots.append(take_snapshot(self.model, epoch + 1))


def take_snapshot(model: Any, epoch: int = 0) -> WeightSnapshot:
    """Returns the histograms of the binary kernels of `model` as they are now.

    Args:
        model: A built Keras model with self-binarizing layers.
        epoch: The number of epochs to note in the snapshot.

    Raises:
        ValueError: If the model has no self-binarizing layer.
    """
    counts: dict[str, np.ndarray] = {}
    sharpness = 0.0
    for layer in self_binarizing_layers(model):
        kernel = effective_kernel(layer)
        if kernel is not None:
            counts[layer.name] = np.histogram(kernel, BIN_EDGES)[0]
            sharpness = max(sharpness, abs(float(ops.convert_to_numpy(layer.kernel_sharpness))))
    return WeightSnapshot(epoch, sharpness, counts)
