"""Metrics of networks that become binary."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_sbn")
class FlipRatio(keras.metrics.Metric):
    """Mean share of values that changed between one update and the next.

    Fed with the signs of a kernel after every epoch, it says how many weights still change their sign.
    The first update has nothing to compare with and counts as none.

    Args:
        name: Name of the metric.
        dtype: Data type of the result.

    Raises:
        ValueError: If the shape changes between updates.

    Source: `larq.metrics.FlipRatio`, with the same results; Helwegen et al., arXiv 1906.02107.

    Example:

    >>> metric = keras_sbn.metrics.FlipRatio()
    >>> metric.update_state([1, 1])
    >>> metric.update_state([2, 2])
    >>> metric.update_state([1, 2])
    >>> float(metric.result())
    0.75
    """

    def __init__(self, name: str = "flip_ratio", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.comparisons = self.add_variable((), initializer="zeros", name="comparisons")
        self._previous: Any = None

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values = ops.convert_to_tensor(values)
        if self._previous is not None:
            if tuple(values.shape) != tuple(self._previous.shape):
                raise ValueError(
                    "Expected values of one shape in every update. Received: "
                    f"{tuple(values.shape)} after {tuple(self._previous.shape)}"
                )
            changed = ops.mean(ops.cast(ops.not_equal(values, self._previous), self.dtype))
            self.total.assign_add(changed)
            self.comparisons.assign_add(1)
        self._previous = values

    def result(self) -> Any:
        return self.total / ops.maximum(self.comparisons, 1)

    def reset_state(self) -> None:
        """Sets the mean to zero; the last values stay, as in Larq."""
        self.total.assign(0)
        self.comparisons.assign(0)
