"""Operations that one operator computes together with what follows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_sbn.folding.ops import Op, Threshold


@dataclass
class FusedActivation:
    """An operation, then a factor and an offset an output channel, then a fused activation function.

    `layer` is the name of the layer of `op`; the node has the name of what comes last.
    """

    op: Op
    layer: str
    factor: np.ndarray
    offset: np.ndarray
    activation: str


@dataclass
class FusedThreshold(Threshold):
    """An operation, then the comparison of its accumulators with thresholds, one an output channel.

    `exact` says that accumulators and thresholds are integers; otherwise the operation sums int8 values
    that were rounded.
    """

    op: Op
    layer: str
    exact: bool
