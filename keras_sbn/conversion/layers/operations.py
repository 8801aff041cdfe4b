"""Functions of `keras.ops`, and operators between Keras tensors.

``x + y`` of Keras tensors is no layer but an operation. An argument that a function here does not name
in `reads` must have its default: `registry.lowering_of` refuses the others.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.layers.activations import activated
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import Call, lowers_operation, operation_class, same
from keras_sbn.folding.ops import Slot

_BINARY = {
    operation_class(name): operator
    for name, operator in (
        ("add", "ADD"),
        ("divide", "DIV"),
        ("maximum", "MAXIMUM"),
        ("minimum", "MINIMUM"),
        ("multiply", "MUL"),
        ("subtract", "SUB"),
        ("true_divide", "DIV"),
    )
}
_UNARY = {
    operation_class(name): operator
    for name, operator in (
        ("absolute", "ABS"),
        ("ceil", "CEIL"),
        ("exp", "EXP"),
        ("floor", "FLOOR"),
        ("log", "LOG"),
        ("negative", "NEG"),
        ("relu", "RELU"),
        ("relu6", "RELU6"),
        ("round", "ROUND"),
        ("rsqrt", "RSQRT"),
        ("sigmoid", "LOGISTIC"),
        ("sqrt", "SQRT"),
        ("tanh", "TANH"),
    )
}
_REDUCTIONS = {
    operation_class(name): operator
    for name, operator in (
        ("max", "REDUCE_MAX"),
        ("mean", "MEAN"),
        ("min", "REDUCE_MIN"),
        ("sum", "SUM"),
    )
}


def _arguments(call: Call) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, with a `Slot` for every tensor."""
    args, kwargs = call.inner.arguments
    return list(args), dict(kwargs)


@lowers_operation("add", "divide", "maximum", "minimum", "multiply", "subtract", "true_divide")
def _binary(call: Call) -> Tensor:
    args, kwargs = _arguments(call)
    inputs = []
    for place, value in enumerate([*args, *kwargs.values()]):
        if isinstance(value, Slot):
            inputs.append(call.inputs[value.index])
        else:
            inputs.append(call.constant(f"constant_{place}", np.asarray(value, np.float32)))
    first, second = inputs
    operator = _BINARY[call.inner.kind]
    return call.emitter.elementwise(operator, first, second, call.output)


@lowers_operation(
    *("absolute", "ceil", "exp", "floor", "log", "negative", "relu", "relu6"),
    *("round", "rsqrt", "sigmoid", "sqrt", "tanh"),
)
def _unary(call: Call) -> Tensor:
    return call.emitter.unary(_UNARY[call.inner.kind], call.input, call.output)


@lowers_operation("max", "mean", "min", "sum", reads=("axis", "keepdims"))
def _reduction(call: Call) -> Tensor:
    op, rank = call.op, len(call.input.shape)
    axes = range(rank) if op.axis is None else np.atleast_1d(op.axis)
    wanted = sorted(int(axis) % rank for axis in axes)
    if 0 in wanted:
        raise LoweringError(
            f"Expected a reduction that keeps the batch. Received: {call.layer!r} over axes {wanted}. "
            "Give the axes of a sample: axis=(1, 2)."
        )
    operator = _REDUCTIONS[call.inner.kind]
    keep = bool(op.keepdims)
    return call.emitter.reduction(operator, call.input, wanted, call.output, keep)


@lowers_operation("clip", reads=("x_min", "x_max"))
def _clip(call: Call) -> Tensor:
    above = call.output.also(suffix="above")
    low, high = (np.asarray(bound, np.float32) for bound in (call.op.x_min, call.op.x_max))
    x = call.emitter.with_constant("MAXIMUM", call.input, low, above)
    return call.emitter.with_constant("MINIMUM", x, high, call.output)


@lowers_operation("split", reads=("indices_or_sections", "axis"), int8=same)
def _split(call: Call) -> Tensor:
    # Every part is a slice of the whole (`shapes`).
    return call.input


@lowers_operation("pad", reads=("pad_width", "mode"))
def _pad(call: Call) -> Tensor:
    widths = np.array(call.op.pad_width, np.int32)
    args, kwargs = _arguments(call)
    if call.op.mode != "constant" or widths.shape != (len(call.node.shape), 2):
        raise LoweringError(
            "Expected padding with a constant and two widths an axis. Received: "
            f"{call.layer!r} with mode={call.op.mode!r}, pad_width={call.op.pad_width}. Give a pair of "
            "widths for every axis, the batch included."
        )
    others = [value for value in (*args[1:], *kwargs.values()) if value is not None]
    value = float(np.asarray(others[0])) if others else 0.0
    stored = None if value == 0 else np.array(value, np.float32)
    return call.emitter.pad(call.input, widths.tolist(), call.output, stored)


@lowers_operation("concatenate", reads=("axis",))
def _concatenate(call: Call) -> Tensor:
    axis = call.op.axis % len(call.node.shape)
    return call.emitter.concatenation(call.inputs, axis, call.output)


@lowers_operation("reshape", reads=("newshape",), int8=same)
def _reshape(call: Call) -> Tensor:
    return call.emitter.reshape(call.input, call.output)


@lowers_operation("transpose", reads=("axes",), int8=same)
def _transpose(call: Call) -> Tensor:
    rank = len(call.input.shape)
    axes = range(rank)[::-1] if call.op.axes is None else call.op.axes
    order = [int(axis) % rank for axis in axes]
    if order[0] != 0:
        raise LoweringError(
            f"Expected a transposition that keeps the batch first. Received: {call.layer!r} with axes "
            f"{order}. Let axes begin with 0."
        )
    return call.emitter.transpose(call.input, order, call.output)


@lowers_operation("square")
def _square(call: Call) -> Tensor:
    return call.emitter.elementwise("MUL", call.input, call.input, call.output)


@lowers_operation("expand_dims", "squeeze", reads=("axis",), int8=same)
def _other_rank(call: Call) -> Tensor:
    return call.emitter.reshape(call.input, call.output)


#: Functions that are activations as well.
_ACTIVATIONS = {
    operation_class(name): getattr(keras.activations, name)
    for name in ("hard_sigmoid", "hard_silu", "silu", "softsign")
}


@lowers_operation("hard_sigmoid", "hard_silu", "silu", "softsign")
def _activation(call: Call) -> Tensor:
    return activated(call, call.input, _ACTIVATIONS[call.inner.kind], call.output)


@lowers_operation("leaky_relu", reads=("negative_slope",))
def _leaky_relu(call: Call) -> Tensor:
    slope = float(call.op.negative_slope)
    return call.emitter.leaky_relu(call.input, slope, call.output)


@lowers_operation("gelu", reads=("approximate",))
def _gelu(call: Call) -> Tensor:
    approximate = bool(call.op.approximate)
    return call.emitter.gelu(call.input, call.output, approximate)


@lowers_operation("softmax", reads=("axis",))
def _softmax(call: Call) -> Tensor:
    rank = len(call.input.shape)
    if call.op.axis % rank != rank - 1:
        raise LoweringError(
            f"Expected a softmax over the last axis. Received: {call.layer!r} with axis={call.op.axis}. "
            "Transpose its input, and its output back."
        )
    return call.emitter.softmax(call.input, call.output)
