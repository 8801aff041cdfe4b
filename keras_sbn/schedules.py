"""Sharpness schedules: functions of the progress of training, serializable like Keras's own."""

from __future__ import annotations

import math
from typing import Any

import keras


class SharpnessSchedule:
    """Base of the schedules: a callable from progress in [0, 1] to a sharpness greater than 0.

    Subclass it, implement `__call__` and `get_config`, and register the class with
    `keras.saving.register_keras_serializable` to save it with a model's training state.
    """

    def __call__(self, progress: float) -> float:
        """Returns the sharpness at `progress`: 0 is the first batch of training, 1 its end."""
        raise NotImplementedError("Expected a subclass of SharpnessSchedule to define __call__.")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        raise NotImplementedError("Expected a subclass of SharpnessSchedule to define get_config.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SharpnessSchedule:
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_sbn")
class Exponential(SharpnessSchedule):
    """Rises from `start` to `end` by the same factor in every step, then stays at `end`.

    Args:
        start: Sharpness at the beginning, greater than 0.
        end: Sharpness at the end, greater than 0 and finite.
        begin_at: Fraction of training at which the rise begins, in [0, 1).
        end_at: Fraction of training at which it ends, in (begin_at, 1].

    Raises:
        ValueError: If a value is out of range.

    Example:

    >>> schedule = keras_sbn.schedules.Exponential(1.0, 100.0, end_at=0.5)
    >>> schedule(0.0), schedule(0.25), schedule(0.5), schedule(1.0)
    (1.0, 10.0, 100.0, 100.0)
    """

    def __init__(
        self,
        start: float = 1.0,
        end: float = 1e7,
        begin_at: float = 0.0,
        end_at: float = 0.75,
    ) -> None:
        for name, value in (("start", start), ("end", end)):
            if not (0 < value < math.inf):
                raise ValueError(f"Expected `{name}` to be positive and finite. Received: {value}")
        if not 0 <= begin_at < end_at <= 1:
            raise ValueError(
                f"Expected 0 <= begin_at < end_at <= 1. Received: begin_at={begin_at}, end_at={end_at}"
            )
        self.start = float(start)
        self.end = float(end)
        self.begin_at = float(begin_at)
        self.end_at = float(end_at)

    def __call__(self, progress: float) -> float:
        risen = (progress - self.begin_at) / (self.end_at - self.begin_at)
        risen = min(max(risen, 0.0), 1.0)
        return float(self.start * (self.end / self.start) ** risen)

    def get_config(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "end": self.end,
            "begin_at": self.begin_at,
            "end_at": self.end_at,
        }
