"""Layers of several inputs: sums, products, maxima, concatenation."""

from __future__ import annotations

import keras

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.registry import Call, calibrated, lowers, one_scale

K = keras.layers
_OPERATORS = {
    K.Add: "ADD",
    K.Maximum: "MAXIMUM",
    K.Minimum: "MINIMUM",
    K.Multiply: "MUL",
    K.Subtract: "SUB",
}


@lowers(K.Add, K.Subtract, K.Multiply, int8=calibrated)
@lowers(K.Maximum, K.Minimum, int8=one_scale)
def _merge(call: Call) -> Tensor:
    """Two inputs, then the next, from left to right as Keras does."""
    operator = _OPERATORS[call.inner.kind]
    total, *others = call.inputs
    for index, other in enumerate(others):
        last = index == len(others) - 1
        output = call.output if last else call.output.also(suffix=f"partial_{index}")
        activation = call.activation if last else "none"
        total = call.emitter.elementwise(operator, total, other, output, activation)
    return total


@lowers(K.Concatenate, int8=one_scale, bits="moves")
def _concatenate(call: Call) -> Tensor:
    axis = call.op.axis % len(call.node.shape)
    return call.emitter.concatenation(call.inputs, axis, call.output)
