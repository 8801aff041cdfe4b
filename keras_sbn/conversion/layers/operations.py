"""Functions of `keras.ops` that compute, and operators between Keras tensors.

``x + y`` of Keras tensors is no layer but an operation. An argument that a function here, or in `moving`,
does not name in `reads` must have its default: `registry.lowering_of` refuses the others.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.layers.activations import activated
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import Call, lowers, lowers_each
from keras_sbn.folding.ops import Slot

#: Functions that are activations as well.
_ACTIVATIONS = ("hard_sigmoid", "hard_silu", "relu", "relu6", "sigmoid", "silu", "softsign", "tanh")


@lowers_each(
    {
        "add": "ADD",
        "divide": "DIV",
        "maximum": "MAXIMUM",
        "minimum": "MINIMUM",
        "multiply": "MUL",
        "subtract": "SUB",
        "true_divide": "DIV",
    },
    constants=True,
)
def _binary(call: Call, operator: str) -> Tensor:
    inputs = []
    for place, value in enumerate(call.arguments):
        if isinstance(value, Slot):
            inputs.append(call.inputs[value.index])
        else:
            inputs.append(call.emitter.constant(f"constant_{place}", np.asarray(value, np.float32)))
    first, second = inputs
    return call.emitter.elementwise(operator, first, second, call.output)


@lowers_each(
    {
        "absolute": "ABS",
        "ceil": "CEIL",
        "exp": "EXP",
        "floor": "FLOOR",
        "log": "LOG",
        "negative": "NEG",
        "round": "ROUND",
        "rsqrt": "RSQRT",
        "sqrt": "SQRT",
    }
)
def _unary(call: Call, operator: str) -> Tensor:
    return call.emitter.unary(operator, call.input, call.output)


@lowers_each(
    {
        "amax": "REDUCE_MAX",
        "amin": "REDUCE_MIN",
        "max": "REDUCE_MAX",
        "mean": "MEAN",
        "min": "REDUCE_MIN",
        "sum": "SUM",
    },
    reads=("axis", "keepdims"),
)
def _reduction(call: Call, operator: str) -> Tensor:
    axes = _axes(call.op.axis, len(call.input.shape))
    return call.emitter.reduction(operator, call.input, axes, call.output, bool(call.op.keepdims))


def _axes(axis: Any, rank: int) -> list[int]:
    """The axes of a reduction, all of them for `None`."""
    return sorted(int(one) % rank for one in (range(rank) if axis is None else np.atleast_1d(axis)))


@lowers("clip", reads=("x_min", "x_max"))
def _clip(call: Call) -> Tensor:
    bounds = (call.op.x_min, call.op.x_max)
    low, high = (np.asarray(np.nan if bound is None else bound, np.float32) for bound in bounds)
    # Backends differ where the bounds are the other way round.
    if not (low <= high).all():
        raise LoweringError(
            f"Expected clip with a lower bound and an upper one. Received: {call.layer!r} with "
            f"x_min={bounds[0]}, x_max={bounds[1]}. Give the lower one first, or use keras.ops.maximum "
            "and keras.ops.minimum."
        )
    x = call.emitter.elementwise("MAXIMUM", call.input, low, call.output.also(suffix="above"))
    return call.emitter.elementwise("MINIMUM", x, high, call.output)


@lowers("square")
def _square(call: Call) -> Tensor:
    return call.emitter.elementwise("MUL", call.input, call.input, call.output)


@lowers("power", constants=True)
def _power(call: Call) -> Tensor:
    """``x ** 2``, ``x ** 0.5``."""
    exponent = call.arguments[1]
    if not isinstance(exponent, Slot) and np.all(np.equal(exponent, 2)):
        return call.emitter.elementwise("MUL", call.input, call.input, call.output)
    if not isinstance(exponent, Slot) and np.all(np.equal(exponent, 0.5)):
        return call.emitter.unary("SQRT", call.input, call.output)
    raise LoweringError(
        f"Expected a power of 2 or 0.5. Received: {call.layer!r} with another one. Write it as products, "
        "quotients and roots: x * x * x, 1 / x."
    )


@lowers("var", reads=("axis", "keepdims"))
def _variance(call: Call) -> Tensor:
    """The mean of the squared differences from the mean."""
    x, rank = call.input, len(call.input.shape)
    axes = _axes(call.op.axis, rank)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    mean = call.emitter.reduction(
        "MEAN", x, axes, call.output.also(shape=kept, name="", suffix="mean"), True
    )
    inside = call.output.also(shape=x.shape, name="", suffix="difference")
    difference = call.emitter.elementwise("SUB", x, mean, inside)
    square = call.emitter.elementwise("MUL", difference, difference, inside.also(suffix="square"))
    return call.emitter.reduction("MEAN", square, axes, call.output, bool(call.op.keepdims))


@lowers_each({name: getattr(keras.activations, name) for name in _ACTIVATIONS})
def _activation(call: Call, activation: Any) -> Tensor:
    return activated(call, call.input, activation, call.output)


@lowers("gelu", reads=("approximate",))
def _gelu(call: Call) -> Tensor:
    return call.emitter.gelu(call.input, call.output, bool(call.op.approximate))
