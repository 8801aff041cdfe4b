"""Which float values are never -0.0, so that nothing has to be added before their sign is taken.

A sum of floats is -0.0 only where both terms are: x + (-x) is +0.0. So adding a constant that is not
-0.0 gives no -0.0, and neither does adding such a value to another.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion.registry import operation_class
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import Affine, BinaryConv, KerasCall, Reshape
from keras_sbn.folding.value_ranges import decided, selects


def never_negative_zero(node: Node) -> bool:
    """Whether no element of a node's float value, as it is written, can be -0.0."""
    return decided(node, _follows_from_its_inputs, _never_negative_zero)


def _never_negative_zero(node: Node, sources: list[bool]) -> bool:
    if not _follows_from_its_inputs(node):
        return _alone(node.op)
    # A sum needs one such term; what moves or selects values needs all.
    return any(sources) if _is_sum(node.op) else all(sources)


def _follows_from_its_inputs(node: Node) -> bool:
    return isinstance(node.op, Reshape) or _is_sum(node.op) or selects(node)


def _is_sum(op: Any) -> bool:
    return isinstance(op, KerasCall) and op.kind in (keras.layers.Add, operation_class("add"))


def _alone(op: Any) -> bool:
    if isinstance(op, Affine):
        # As it is written: a product, then the sum with the offset.
        offset = np.asarray(op.offset - op.scale * op.center, np.float32)
        return not (np.signbit(offset) & (offset == 0)).any()
    if isinstance(op, BinaryConv):
        return True  # Sums of integers.
    if isinstance(op, KerasCall) and op.kind in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        operation: Any = op.operation
        # The operator always has a bias, which starts the sum or is added to it.
        bias = ops.convert_to_numpy(operation.bias) if operation.use_bias else np.zeros(1)
        plain = operation.activation in (keras.activations.linear, keras.activations.relu)
        return plain and not (np.signbit(bias) & (bias == 0)).any()
    return False
