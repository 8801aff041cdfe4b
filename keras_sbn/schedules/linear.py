"""The schedule that rises by equal amounts."""

from __future__ import annotations

import keras

from keras_sbn.schedules.base import Rise


@keras.saving.register_keras_serializable(package="keras_sbn")
class Linear(Rise):
    """Rises from `start` to `end` by the same amount in every step, then goes on hard.

    With a large `end` nearly all of the rise happens at once: on the way from 1 to 1e7, the sharpness
    passes 1000 after a ten-thousandth of it. `Exponential` spends equal time at every order of magnitude.

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

    >>> schedule = keras_sbn.schedules.Linear(1.0, 101.0, end_at=0.5)
    >>> schedule(0.0), schedule(0.25), schedule(0.5), schedule(1.0)
    (1.0, 51.0, inf, inf)
    """

    def value(self, progress: float) -> float:
        risen = self.risen(progress)
        return self.start * (1 - risen) + self.end * risen
