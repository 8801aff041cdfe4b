"""How a node's value is stored in int8."""

from __future__ import annotations

import keras

from keras_sbn.conversion.calibration import Calibration
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import (
    HYPERBOLIC,
    IMAGE,
    INTEGER,
    PROBABILITY,
    QuantParams,
    params_of_range,
)
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall
from keras_sbn.folding.value_ranges import is_binary, is_image

_FIXED_BY_ACTIVATION = {
    keras.activations.softmax: PROBABILITY,
    keras.activations.sigmoid: PROBABILITY,
    keras.activations.tanh: HYPERBOLIC,
}


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
    call = node.op if isinstance(node.op, KerasCall) else None
    if call is None:
        return None
    if call.kind is keras.layers.Softmax:
        return PROBABILITY
    return _FIXED_BY_ACTIVATION.get(getattr(call.operation, "activation", None))
