"""What every schedule has, and the rise from one sharpness to another that most of them share."""

from __future__ import annotations

import math
from typing import Any

from keras_sbn.sharpness import HARD


class SharpnessSchedule:
    """Base of the schedules: a callable from progress in [0, 1] to a sharpness greater than 0.

    Subclass it, implement `__call__` and `get_config`, and register the class with
    `keras.saving.register_keras_serializable`. A schedule that depends on the logs of the training also
    implements `observe`, `get_state` and `set_state`; the others have no state.
    """

    def __call__(self, progress: float) -> float:
        """Returns the sharpness at `progress`: 0 is the first batch of training, 1 its end."""
        raise NotImplementedError("Expected a subclass of SharpnessSchedule to define __call__.")

    def observe(self, progress: float, logs: dict[str, Any]) -> None:
        """Takes note of the logs of the epoch that ended at `progress`. Most schedules ignore them."""

    def get_state(self) -> dict[str, Any]:
        """Returns what `observe` has kept, in a form JSON can hold: empty for most schedules."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes back to a state that `get_state` returned."""

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        raise NotImplementedError("Expected a subclass of SharpnessSchedule to define get_config.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SharpnessSchedule:
        return cls(**config)


class Rise(SharpnessSchedule):
    """Base of the schedules that rise from `start` to `end` between two fractions of training.

    From `end_at` on the network is hard if `hard`. No finite end does as well: under a gradient of
    bounded sharpness some weights oscillate around 0, and as the learning rate decays they come as close
    to it as you like, so that ``tanh(end * w)`` is no sign. The hard network is the finished one, and so
    are its batch-normalization statistics.
    """

    def __init__(
        self,
        start: float = 1.0,
        end: float = 1e7,
        begin_at: float = 0.0,
        end_at: float = 0.75,
        hard: bool = True,
    ) -> None:
        check_sharpness("start", start)
        check_sharpness("end", end)
        if not 0 <= begin_at < end_at <= 1:
            raise ValueError(
                f"Expected 0 <= begin_at < end_at <= 1. Received: begin_at={begin_at}, end_at={end_at}"
            )
        self.start = float(start)
        self.end = float(end)
        self.begin_at = float(begin_at)
        self.end_at = float(end_at)
        self.hard = bool(hard)

    def __call__(self, progress: float) -> float:
        return HARD if self.hard and progress >= self.end_at else self.value(progress)

    def value(self, progress: float) -> float:
        """The sharpness at `progress`, from `start` to `end`."""
        raise NotImplementedError("Expected a subclass of Rise to define `value`.")

    def risen(self, progress: float) -> float:
        """The share of the way from `begin_at` to `end_at` that lies behind, in [0, 1]."""
        return min(max((progress - self.begin_at) / (self.end_at - self.begin_at), 0.0), 1.0)

    def between(self, share: float) -> float:
        """The sharpness `share` of the way from `start` to `end`, in equal factors."""
        if share >= 1:
            return self.end
        return float(self.start * (self.end / self.start) ** share)

    def get_config(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "end": self.end,
            "begin_at": self.begin_at,
            "end_at": self.end_at,
            "hard": self.hard,
        }


def check_sharpness(name: str, value: float) -> None:
    """Raises a ValueError naming `name` unless `value` is positive and finite."""
    if not (0 < value < math.inf):
        raise ValueError(f"Expected `{name}` to be positive and finite. Received: {name}={value}")
