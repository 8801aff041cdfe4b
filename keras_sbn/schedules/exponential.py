"""The schedule that rises by equal factors."""

from __future__ import annotations

import keras

from keras_sbn.schedules.base import Rise


@keras.saving.register_keras_serializable(package="keras_sbn")
class Exponential(Rise):
    """Rises from `start` to `end` by the same factor in every step, then goes on hard.

    Args:
        start: Sharpness at the beginning, greater than 0.
        end: Sharpness at the end, greater than 0 and finite.
        begin_at: Fraction of training at which the rise begins, in [0, 1).
        end_at: Fraction of training at which it ends, in (begin_at, 1].
        hard: Whether the sharpness is infinite from `end_at` on, so that the rest of training is that of
            the finished network.

    Raises:
        ValueError: If a value is out of range.

    Source: Lahoud et al., arXiv 1902.00730, section 3.1, raise the sharpness during training; that it
    rises by equal factors, and how far, is ours: at 1000 a few weights still hide near 0.

    Example:

    >>> schedule = keras_sbn.schedules.Exponential(1.0, 100.0, end_at=0.5)
    >>> schedule(0.0), schedule(0.25), schedule(0.5), schedule(1.0)
    (1.0, 10.0, inf, inf)
    """

    def value(self, progress: float) -> float:
        return self.between(self.risen(progress))
