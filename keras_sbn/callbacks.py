"""The callback that sharpens a network while it trains."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.binarize import binarize, set_sharpness
from keras_sbn.schedules import Exponential, SharpnessSchedule


class Sharpen(keras.callbacks.Callback):
    """Raises the sharpness of every self-binarizing layer during `model.fit`, and makes it hard after.

    The callback learns the length of training from `fit`, so it needs no numbers. It writes the current
    `sharpness` into the logs of every batch and epoch, where the progress bar, `History`, `CSVLogger`
    and TensorBoard find it. The sharpness depends on the epoch and the batch alone, so a run that is
    resumed with `initial_epoch` goes on where it stood.

    Args:
        schedule: A `keras_sbn.schedules.SharpnessSchedule`, from progress in [0, 1] to sharpness.
            Default: `Exponential()`.
        update_freq: How often the sharpness changes: `"batch"`, `"epoch"`, or every that many batches.
            While the number of batches in an epoch is not known yet (a generator's first epoch), it
            stays at the epoch's first value.
        binarize: Whether to make the network hard when training ends (`keras_sbn.binarize`). If not,
            it keeps the last sharpness of the schedule.

    Raises:
        ValueError: If an argument is out of range, or the model has no self-binarizing layer.

    Source: Lahoud et al., arXiv 1902.00730, section 3.1.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> sharpen = keras_sbn.callbacks.Sharpen()
    >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), callbacks=[sharpen], verbose=0)
    >>> keras_sbn.binarize(model).already_binary
    True
    """

    def __init__(
        self,
        schedule: SharpnessSchedule | None = None,
        update_freq: str | int = "batch",
        binarize: bool = True,
    ) -> None:
        super().__init__()
        if schedule is not None and not callable(schedule):
            raise ValueError(
                "Expected `schedule` to be a keras_sbn.schedules schedule, or another function of "
                f"progress in [0, 1]. Received: schedule={schedule!r}"
            )
        whole = isinstance(update_freq, int) and update_freq > 0
        if update_freq not in ("batch", "epoch") and not whole:
            raise ValueError(
                "Expected `update_freq` to be 'batch', 'epoch' or a positive number of batches. "
                f"Received: update_freq={update_freq!r}"
            )
        self.schedule = schedule or Exponential()
        self.update_freq = update_freq
        self.binarize = binarize
        self.sharpness: float | None = None
        self._epoch = 0
        self._steps: int | None = None
        self._seen = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._steps = self.params.get("steps")
        self._update(0.0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._seen = 0
        self._update(self._progress(0))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.update_freq == "epoch" or self._steps is None:
            return
        every = 1 if self.update_freq == "batch" else int(self.update_freq)
        self._update(self._progress(batch - batch % every))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._seen = batch + 1
        if logs is not None:
            logs["sharpness"] = self.sharpness

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps = self._steps or self._seen
        if logs is not None:
            logs["sharpness"] = self.sharpness

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.binarize:
            binarize(self.model)

    def _progress(self, batch: int) -> float:
        within = batch / self._steps if self._steps else 0.0
        return min((self._epoch + within) / self.params["epochs"], 1.0)

    def _update(self, progress: float) -> None:
        sharpness = float(self.schedule(progress))
        if sharpness != self.sharpness:
            self.sharpness = sharpness
            set_sharpness(self.model, sharpness)
