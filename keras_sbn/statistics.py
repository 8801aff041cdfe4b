"""Batch-normalization statistics of the network as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.batches import batches
from keras_sbn.binarize import trains
from keras_sbn.interception import intercepting
from keras_sbn.layers import BinaryBatchNormalization


def reestimate_batch_normalization(
    model: Any, data: Any, steps: int | None = None, batch_size: int = 256
) -> int:
    """Replaces the moving statistics of every batch normalization by those of `data`.

    The moving averages of a network that was sharpened belong to softer networks than the one that
    remains. The data goes through the model once; every batch normalization normalizes with the
    statistics of the batch, while all other layers are in inference mode (no dropout), and keeps the
    mean and the variance over all batches. Batches of 100 samples and more come close to the statistics
    of the whole.

    Works for `keras.layers.BatchNormalization` and `keras_sbn.layers.BinaryBatchNormalization`, nested
    at any depth, under every backend. Layers with `trainable=False` keep their statistics, as they do in
    training.

    Args:
        model: A built Keras model; changed in place.
        data: Inputs like those of training: an array, a list of arrays (one an input), a dictionary of
            them by input name, a tuple `(inputs, targets)` of these, or an iterable of such batches (a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator).
        steps: Largest number of batches to use; `None` uses all of `data`.
        batch_size: Size of the batches that arrays are cut into.

    Returns:
        The number of layers whose statistics were replaced; 0 if the model has none.

    Raises:
        ValueError: If `data` is none of these forms, is empty or has no end, or `steps` or `batch_size`
            is not positive.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima, arXiv 1803.05407, section 3.2.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.BinaryBatchNormalization()])
    >>> keras_sbn.reestimate_batch_normalization(model, np.full((8, 4), 3.0))
    1
    >>> keras.ops.convert_to_numpy(model.layers[0].moving_mean).tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    kinds = (keras.layers.BatchNormalization, BinaryBatchNormalization)
    found = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    layers = [layer for layer in dict.fromkeys(found) if trains(model, layer)]
    if not layers:
        return 0
    estimates = {layer: _Estimate(layer) for layer in layers}

    def call_and_note(layer: Any, call: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return estimates[layer].normalize(call, inputs, mask)

    with ExitStack() as stack:
        for estimate in estimates.values():
            stack.enter_context(estimate.collecting())
        stack.enter_context(intercepting(layers, call_and_note))
        for inputs in batches(data, batch_size, steps):
            model(inputs, training=False)
    for estimate in estimates.values():
        estimate.write()
    return len(estimates)


class _Estimate:
    """The mean and variance of all that goes into one layer, over batches of any size."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.count = 0
        self.sum_of_means: Any = 0.0
        self.sum_of_squares: Any = 0.0

    def normalize(self, call: Any, inputs: Any, mask: Any) -> Any:
        """Normalizes with the statistics of the batch, as in training, and adds them up."""
        outputs = call(inputs, training=True, mask=mask)
        size = int(np.prod(ops.shape(inputs))) if mask is None else int(np.sum(np.asarray(mask)))
        mean = ops.convert_to_numpy(self.layer.moving_mean).astype("float64")
        variance = ops.convert_to_numpy(self.layer.moving_variance).astype("float64")
        self.count += size
        self.sum_of_means += size * mean
        self.sum_of_squares += size * (variance + mean**2)
        return outputs

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Within it, the layer's own update leaves the statistics of a batch in its moving averages.

        So masks, axes and dtypes are treated as in training.
        """
        layer, momentum = self.layer, self.layer.momentum
        before = [ops.convert_to_numpy(v) for v in (layer.moving_mean, layer.moving_variance)]
        if isinstance(layer, BinaryBatchNormalization):
            layer.accumulate_statistics(False)
        layer.momentum = 0.0
        try:
            yield
        except BaseException:
            layer.moving_mean.assign(before[0])
            layer.moving_variance.assign(before[1])
            raise
        finally:
            layer.momentum = momentum

    def write(self) -> None:
        if self.count:
            mean = self.sum_of_means / self.count
            variance = np.maximum(self.sum_of_squares / self.count - mean**2, 0.0)
            self.layer.moving_mean.assign(mean.astype("float32"))
            self.layer.moving_variance.assign(variance.astype("float32"))
