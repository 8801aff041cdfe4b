"""The callback that validates the hard network beside the soft one."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.batches import is_iterable_of_batches
from keras_sbn.binarize import set_sharpness, sharpness_weights
from keras_sbn.sharpness import HARD


class HardValidation(keras.callbacks.Callback):
    """Evaluates the network as it would be if training ended now: hard, with sign in place of tanh.

    The results stand in the logs beside those of the soft network that `fit(validation_data=...)`
    evaluates: `val_hard_loss` beside `val_loss`, `val_hard_accuracy` beside `val_accuracy`. The model is
    soft again afterwards. Put the callback before `Sharpen`, so that an `Adaptive` schedule sees its
    logs, and before `keras.callbacks.TensorBoard` and `CSVLogger`.

    Args:
        validation_data: A tuple `(inputs, targets)` or `(inputs, targets, sample_weights)`, or whatever
            else `model.evaluate` takes, such as a `tf.data.Dataset`.
        batch_size: Size of the batches that arrays are cut into.

    Raises:
        ValueError: If there is no data.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras_sbn.layers.SelfBinarizingDense(2)])
    >>> model.compile("adam", "mse")
    >>> data = np.ones((8, 4)), np.ones((8, 2))
    >>> history = model.fit(*data, callbacks=[keras_sbn.callbacks.HardValidation(data)], verbose=0)
    >>> "val_hard_loss" in history.history
    True
    """

    def __init__(self, validation_data: Any, batch_size: int = 256) -> None:
        super().__init__()
        if validation_data is None:
            raise ValueError("Expected `validation_data` to evaluate on. Received: validation_data=None")
        self.validation_data = validation_data
        self.batch_size = batch_size

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None:
            return
        model = self.model
        weights = sharpness_weights(model)
        soft = [float(keras.ops.convert_to_numpy(weight)) for weight in weights]
        set_sharpness(model, HARD)
        try:
            logs.update({f"val_hard_{name}": value for name, value in self._evaluate(model).items()})
        finally:
            for weight, value in zip(weights, soft, strict=True):
                weight.assign(value)

    def _evaluate(self, model: Any) -> dict[str, float]:
        options = {"verbose": 0, "return_dict": True}
        if is_iterable_of_batches(self.validation_data):
            return model.evaluate(self.validation_data, **options)
        x, y, *rest = self.validation_data
        sample_weight = rest[0] if rest else None
        return model.evaluate(x, y, batch_size=self.batch_size, sample_weight=sample_weight, **options)
