"""The callback that measures how binary the network has become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.batches import batches, check_can_be_read_twice
from keras_sbn.binarize import effective_kernel, latent_kernels, saturated_share, self_binarizing_layers
from keras_sbn.interception import intercepting
from keras_sbn.layers.base import SelfBinarizingLayer


class Monitor(keras.callbacks.Callback):
    """Logs how binary weights and activations are, and how many weights still change sign.

    Into the logs of the epoch go means over all weights and activations of the model:

    - `saturated_weights`: share of kernel values within 1e-3 of -1 or +1;
    - `saturated_activations`: the same for the binarized activations on `x`;
    - `flip_ratio`: share of weights whose sign changed since the last measurement (`FlipRatio` of Larq).

    What they are layer by layer is in `layers`, and in TensorBoard with `log_dir`. Put the callback
    before `keras.callbacks.TensorBoard` and `CSVLogger`, which write what they find in the logs. A
    measurement costs about as much as a forward pass of `x`.

    Args:
        x: Inputs to measure the activations on: an array, a list of arrays (one an input), a dictionary
            of them by input name, a tuple `(inputs, targets)` of these, or an iterable of such batches
            that can be read again; a few dozen samples are enough. `None` leaves the activations out.
        log_dir: Directory for TensorBoard; the numbers of every layer are written there as scalars and
            its kernel as a histogram, as the run `binarization`. Needs TensorFlow.

    Attributes:
        layers: One dictionary a measurement, from layer name to a dictionary of what was measured.

    Raises:
        ValueError: If the model has no self-binarizing layer.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> monitor = keras_sbn.callbacks.Monitor()
    >>> data = np.ones((8, 4)), np.ones((8, 2))
    >>> history = model.fit(*data, callbacks=[monitor], verbose=0)
    >>> sorted(monitor.layers[0][model.layers[0].name])
    ['flip_ratio', 'saturated_weights']
    """

    def __init__(self, x: Any = None, log_dir: str | Path | None = None) -> None:
        super().__init__()
        check_can_be_read_twice(x, "x")
        self.x = x
        self.log_dir = None if log_dir is None else Path(log_dir)
        self.layers: list[dict[str, dict[str, float]]] = []
        self._signs: dict[Any, np.ndarray] = {}
        self._writer: Any = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.layers = []
        found = self_binarizing_layers(self.model)
        self._signs = {layer: _signs(layer) for layer in found if effective_kernel(layer) is not None}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        found = self_binarizing_layers(self.model)
        shares = {} if self.x is None else saturated_activations(self.model, self.x)
        rows: dict[str, dict[str, float]] = {}
        sizes: dict[str, list[tuple[float, int]]] = {}

        def note(layer: SelfBinarizingLayer, what: str, share: float, size: int) -> None:
            rows.setdefault(layer.name, {})[what] = share
            sizes.setdefault(what, []).append((share, size))

        for layer in found:
            kernel = effective_kernel(layer)
            if kernel is not None:
                note(layer, "saturated_weights", saturated_share(kernel), kernel.size)
                signs = _signs(layer)
                note(layer, "flip_ratio", float(np.mean(signs != self._signs[layer])), signs.size)
                self._signs[layer] = signs
            if layer in shares:
                note(layer, "saturated_activations", *shares[layer])
        self.layers.append(rows)
        if logs is not None:
            for what, pairs in sizes.items():
                logs[what] = sum(share * size for share, size in pairs) / sum(size for _, size in pairs)
        if self.log_dir is not None:
            self._write(epoch, found, rows)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(
        self, epoch: int, found: list[SelfBinarizingLayer], rows: dict[str, dict[str, float]]
    ) -> None:
        from tensorflow import summary

        if self._writer is None:
            self._writer = summary.create_file_writer(str(self.log_dir / "binarization"))  # type: ignore[operator]
        with self._writer.as_default():
            for name, measured in rows.items():
                for what, value in measured.items():
                    summary.scalar(f"{what}/{name}", value, step=epoch)
            for layer in found:
                for weight in layer.sharpness_weights:
                    value = abs(float(ops.convert_to_numpy(weight)))
                    summary.scalar(f"{weight.name}/{layer.name}", value, step=epoch)
                kernel = effective_kernel(layer)
                if kernel is not None:
                    summary.histogram(f"kernel/{layer.name}", kernel, step=epoch)
        self._writer.flush()


def saturated_activations(model: Any, x: Any) -> dict[SelfBinarizingLayer, tuple[float, int]]:
    """Returns the share of saturated activations of every layer that binarizes some, and their number.

    Args:
        model: A built Keras model with self-binarizing layers.
        x: Inputs, in any form of `keras_sbn.batches`.
    """
    found = [layer for layer in self_binarizing_layers(model) if layer.activation_sharpness is not None]
    totals: dict[SelfBinarizingLayer, tuple[float, int]] = {}

    def binarize_and_note(layer: SelfBinarizingLayer, binarize_activation: Any, inputs: Any) -> Any:
        outputs = binarize_activation(inputs)
        values = ops.convert_to_numpy(ops.cast(outputs, "float32"))
        saturated, size = totals.get(layer, (0.0, 0))
        totals[layer] = saturated + saturated_share(values) * values.size, size + values.size
        return outputs

    with intercepting(found, binarize_and_note, "binarize_activation"):
        for inputs in batches(x, name="x"):
            model(inputs, training=False)
    return {layer: (saturated / size, size) for layer, (saturated, size) in totals.items()}


def _signs(layer: Any) -> np.ndarray:
    return np.concatenate([kernel.ravel() >= 0 for kernel in latent_kernels(layer)])
