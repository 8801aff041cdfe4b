"""Layers of several inputs: sums, products, maxima, concatenation."""

from __future__ import annotations

import keras

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.registry import Call, calibrated, lowers, lowers_each, one_scale

K = keras.layers


@lowers_each({K.Add: "ADD", K.Subtract: "SUB", K.Multiply: "MUL"}, int8=calibrated)
@lowers_each({K.Maximum: "MAXIMUM", K.Minimum: "MINIMUM"}, int8=one_scale)
def _merge(call: Call, operator: str) -> Tensor:
    """Two inputs, then the next, from left to right as Keras does."""
    total, *others = call.inputs
    for index, other in enumerate(others):
        last = index == len(others) - 1
        output = call.output if last else call.output.also(suffix=f"partial_{index}")
        activation = call.activation if last else "none"
        total = call.emitter.elementwise(operator, total, other, output, activation)
    return total


@lowers(K.Concatenate, int8=one_scale, bits="moves")
@lowers("concatenate", reads=("axis",))
def _concatenate(call: Call) -> Tensor:
    axis = call.op.axis % len(call.node.shape)
    return call.emitter.concatenation(call.inputs, axis, call.output)
