"""How a node's value is stored in integers."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_sbn.conversion.calibration import Calibration
from keras_sbn.conversion.fused import FusedActivation
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import (
    HYPERBOLIC,
    IMAGE,
    INTEGER,
    PROBABILITY,
    WIDE_FRACTION,
    WIDE_INTEGER,
    QuantParams,
    params_of_range,
    wide_params,
)
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import Affine, KerasCall, Placeholder, Reshape
from keras_sbn.folding.value_ranges import (
    Grid,
    behind_reshapes,
    decided,
    grid,
    is_binary,
    is_image,
)

#: By layer or activation function.
_FIXED = {
    keras.layers.Softmax: PROBABILITY,
    keras.activations.softmax: PROBABILITY,
    keras.activations.sigmoid: PROBABILITY,
    keras.activations.tanh: HYPERBOLIC,
}
#: Between which values the results of fused activation functions are.
_LIMITS = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
_SUMS = (keras.layers.Add, keras.layers.Subtract)


class Scales:
    """Scale and zero point of every node, from what is known of its values or from their ranges.

    Args:
        calibration: The ranges on representative data, where there are any.
    """

    def __init__(self, calibration: Calibration | None) -> None:
        self._calibration = calibration

    def of(self, node: Node) -> QuantParams:
        """How a node's value is stored."""
        if is_image(node):
            return IMAGE
        if is_binary(node):
            return INTEGER
        return _fixed(node) or self._ranges(node).scale(node)

    def in_int8(self, node: Node) -> QuantParams:
        """How a node's value is stored in int8, where the target computes with it in another type."""
        return self.of(node)

    def finest(self, node: Node) -> QuantParams:
        """The finest scale that holds a node's value, its grid aside."""
        if is_image(node):
            return IMAGE
        low, high = (-1.0, 1.0) if is_binary(node) else self._ranges(node).range(node)
        return params_of_range(low, high)

    def _ranges(self, node: Node) -> Calibration:
        if self._calibration is None:
            raise LoweringError(
                "Expected `representative_data`, from which the scales of int8 values follow. Received: "
                f"none, and {node.name!r} is to be int8. Give some hundred inputs of the kind the model "
                "will see."
            )
        return self._calibration


def _fixed(node: Node) -> QuantParams | None:
    """The scale that TFLite prescribes for what a node computes, or `None` where its range decides."""
    call = node.op
    if not isinstance(call, KerasCall):
        return None
    return _FIXED.get(call.kind) or _FIXED.get(getattr(call.operation, "activation", None))


class WideScales(Scales):
    """How numbers are stored in int16: in steps of their grid, where it fits, else of a power of two.

    With representative data the range is twice what was seen of a value, and never more than it can be.
    """

    def of(self, node: Node) -> QuantParams:
        if is_image(node) or isinstance(node.op, Placeholder):
            return super().of(node)
        if is_binary(node):
            return WIDE_INTEGER
        if _fixed(node):
            return WIDE_FRACTION
        values = grid_of_sums(node)
        return wide_params(values.bound if values else self._largest(node), values)

    def exact(self, node: Node) -> bool:
        """Whether integers hold every value of a node: ±1, stored inputs, what lies on its grid."""
        node = behind_reshapes(node)
        if is_binary(node) or isinstance(node.op, Placeholder):
            return True
        values = grid_of_sums(node)
        return values is not None and self.of(node).scale == np.float32(1 / values.steps)

    def in_int8(self, node: Node) -> QuantParams:
        if is_image(node) or is_binary(node) or _fixed(node) or isinstance(node.op, Placeholder):
            return super().of(node)
        bound = interval(node)
        low, high = self._ranges(node).range(node) if self._calibration or bound is None else bound
        return params_of_range(low, high, grid(node))

    def finest(self, node: Node) -> QuantParams:
        return wide_params(self._largest(node))

    def _largest(self, node: Node) -> float:
        return max(-self._interval(node)[0], self._interval(node)[1])

    def _interval(self, node: Node) -> tuple[float, float]:
        """What a value can be, or twice what was seen of it where that is less."""
        bound = interval(node)
        # Of ±1 calibration keeps no range.
        if bound is not None and (self._calibration is None or is_binary(node)):
            return bound
        low, high = (2 * end for end in self._ranges(node).range(node))
        return (low, high) if bound is None else (max(low, bound[0]), min(high, bound[1]))


def interval(node: Node) -> tuple[float, float] | None:
    """The least and the largest value that a node can have, where what it computes tells."""
    on_grid = grid(node)
    if on_grid is not None:
        return -on_grid.bound, on_grid.bound
    op = node.op
    if isinstance(op, FusedActivation):
        inner = Node(op.layer, op.op, node.inputs, node.shape)
        ends = _ends(interval(inner), op.factor, op.offset)
        return None if ends is None else tuple(np.clip(ends, *_LIMITS[op.activation]).tolist())
    if isinstance(op, Affine) and op.inner is None:
        factor = op.scale / np.asarray(op.divisor, np.float64)
        return _ends(interval(node.input), factor, op.offset - factor * op.center)
    if isinstance(op, Reshape):
        return interval(node.input)
    return None


def grid_of_sums(node: Node) -> Grid | None:
    """The grid of a node's values, also where they are sums or differences of others on grids.

    float32 adds these exactly as well. Folding does not ask: a sign of a sum stays two layers there.
    """
    return decided(node, _adds, _grid_of_sum)


def _grid_of_sum(node: Node, parts: list[Grid | None]) -> Grid | None:
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return grid(node)
    return Grid(math.lcm(*(part.steps for part in known)), sum(part.bound for part in known))


def _adds(node: Node) -> bool:
    return isinstance(node.op, KerasCall) and node.op.kind in _SUMS


def _ends(
    source: tuple[float, float] | None, factor: np.ndarray, offset: np.ndarray
) -> tuple[float, float] | None:
    if source is None:
        return None
    both = [np.asarray(factor * end + offset, np.float64) for end in source]
    return min(float(each.min()) for each in both), max(float(each.max()) for each in both)
