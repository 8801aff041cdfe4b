"""What to subtract from a float32 value so that a threshold becomes a comparison with 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import Threshold
from keras_sbn.folding.thresholds import between_grid_points, round_up_to_float32
from keras_sbn.folding.value_ranges import grid


def as_threshold(op: Any) -> Threshold:
    """A sign is a comparison with 0."""
    return op if isinstance(op, Threshold) else Threshold(np.zeros(1), np.ones(1, np.int8))


def exact_offset(node: Node, op: Threshold) -> np.ndarray:
    """The number with which ``x >= threshold`` is ``x - offset >= 0``, for the input x of a node.

    The difference of two floats has the sign it should have, and it is +0.0 where they are equal. On a
    grid, half a step below decides, and elsewhere the next float32 at or above the threshold.
    """
    values = grid(node.input)
    if values is None:
        return round_up_to_float32(op.threshold)
    return between_grid_points(op.threshold, values)
