"""The schedule that rises slowly at both ends."""

from __future__ import annotations

import math

import keras

from keras_sbn.schedules.base import Rise


@keras.saving.register_keras_serializable(package="keras_sbn")
class Cosine(Rise):
    """Rises like `Exponential`, but slowly at first and last: half a cosine of the logarithm.

    Args:
        start: Sharpness at the beginning, greater than 0.
        end: Sharpness at the end, greater than 0 and finite.
        begin_at: Fraction of training at which the rise begins, in [0, 1).
        end_at: Fraction of training at which it ends, in (begin_at, 1].
        hard: Whether the sharpness is infinite from `end_at` on, so that the rest of training is that of
            the finished network.

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> schedule = keras_sbn.schedules.Cosine(1.0, 100.0, end_at=1.0, hard=False)
    >>> [round(schedule(progress), 2) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [1.0, 1.96, 10.0, 50.95, 100.0]
    """

    def value(self, progress: float) -> float:
        return self.between((1 - math.cos(math.pi * self.risen(progress))) / 2)
