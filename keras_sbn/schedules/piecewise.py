"""The schedule of steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from keras_sbn.schedules.base import SharpnessSchedule, check_sharpness


@keras.saving.register_keras_serializable(package="keras_sbn")
class Piecewise(SharpnessSchedule):
    """Keeps one value up to the first boundary, the next up to the second, and so on.

    Args:
        boundaries: Fractions of training, rising, in (0, 1). At a boundary the next value holds.
        values: Sharpness values, each greater than 0 and finite, one more than there are boundaries.

    Raises:
        ValueError: If the boundaries do not rise in (0, 1), the numbers do not fit, or a value is out of
            range.

    Example:

    >>> schedule = keras_sbn.schedules.Piecewise([0.5, 0.75], [1.0, 10.0, 1e7])
    >>> schedule(0.0), schedule(0.5), schedule(1.0)
    (1.0, 10.0, 10000000.0)
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float]) -> None:
        bounded = [0.0, *boundaries, 1.0]
        if any(low >= high for low, high in pairwise(bounded)):
            raise ValueError(
                "Expected `boundaries` to be rising fractions of training in (0, 1). Received: "
                f"boundaries={list(boundaries)}"
            )
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                f"Expected one value more than there are boundaries. Received: {len(values)} values, "
                f"{len(boundaries)} boundaries"
            )
        for value in values:
            check_sharpness("values", value)
        self.boundaries = [float(boundary) for boundary in boundaries]
        self.values = [float(value) for value in values]

    def __call__(self, progress: float) -> float:
        return self.values[bisect_right(self.boundaries, progress)]

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values}
