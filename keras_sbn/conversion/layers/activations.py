"""Activation functions, as layers and as arguments of other layers.

A function is known by identity: one of the user's own that is called "tanh" is another function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import activations, ops

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.operators import Operators
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.conversion.registry import Call, calibrated, lowers, lowers_each, same
from keras_sbn.folding.ops import KerasCall

K = keras.layers
_Write = Callable[[Operators, Tensor, Output], Tensor]


def _unary(operator: str) -> _Write:
    return lambda emitter, x, output: emitter.unary(operator, x, output)


def _hard_sigmoid(emitter: Operators, x: Tensor, output: Output) -> Tensor:
    """``relu6(x + 3) / 6``, rounded as Keras rounds it."""
    shifted = emitter.elementwise("ADD", x, 3.0, output.also(suffix="above"))
    clipped = emitter.unary("RELU6", shifted, output.also(suffix="clipped"))
    return emitter.elementwise("DIV", clipped, 6.0, output)


def _times(factor: _Write) -> _Write:
    """``x * factor(x)``."""

    def write(emitter: Operators, x: Tensor, output: Output) -> Tensor:
        found = factor(emitter, x, output.also(suffix="factor"))
        return emitter.elementwise("MUL", x, found, output)

    return write


def _softsign(emitter: Operators, x: Tensor, output: Output) -> Tensor:
    magnitude = emitter.unary("ABS", x, output.also(suffix="magnitude"))
    divisor = emitter.elementwise("ADD", magnitude, 1.0, output.also(suffix="divisor"))
    return emitter.elementwise("DIV", x, divisor, output)


#: What writes each function of `keras.activations` in float32.
FUNCTIONS: dict[Any, _Write] = {
    activations.elu: _unary("ELU"),
    activations.exponential: _unary("EXP"),
    activations.gelu: Operators.gelu,
    activations.hard_sigmoid: _hard_sigmoid,
    activations.hard_silu: _times(_hard_sigmoid),
    activations.leaky_relu: lambda emitter, x, output: emitter.leaky_relu(x, 0.2, output),
    activations.relu: _unary("RELU"),
    activations.relu6: _unary("RELU6"),
    activations.sigmoid: _unary("LOGISTIC"),
    activations.silu: _times(_unary("LOGISTIC")),
    activations.softmax: Operators.softmax,
    activations.softsign: _softsign,
    activations.tanh: _unary("TANH"),
}

#: The functions that convolutions and other operators can compute themselves, by their names there.
_FUSED = {activations.relu: "relu", activations.relu6: "relu6"}
#: The functions that have an int8 operator.
_INT8 = (activations.relu, activations.relu6, activations.sigmoid, activations.softmax, activations.tanh)


def name_of(activation: Any) -> str:
    """What to call an activation in a message: "leaky_relu", or the class of an object."""
    return getattr(activation, "__name__", type(activation).__name__)


def fused_name(activation: Any) -> str | None:
    """The fused activation function that an activation is, or `None` if it is none."""
    return "none" if activation in (None, activations.linear) else _FUSED.get(activation)


def relu_name(op: Any) -> str | None:
    """The fused activation function that an operation is the layer of, or `None` if it is none."""
    kind = op.kind if isinstance(op, KerasCall) else None
    if kind is K.ReLU:
        plain = not op.operation.negative_slope and not op.operation.threshold
        return {None: "relu", 6: "relu6"}.get(op.operation.max_value) if plain else None
    return _FUSED.get(op.operation.activation) if kind is K.Activation else None


def activated(call: Call, x: Tensor, activation: Any, output: Output) -> Tensor:
    """Emits an activation function as an operator of its own, if it is not linear.

    Raises:
        LoweringError: If the function is none that converts; the message names it.
    """
    if fused_name(activation) == "none":
        return x
    refuse_unknown_activation(activation, call.layer)
    return FUNCTIONS[activation](call.emitter, x, output)


def refuse_unknown_activation(activation: Any, layer: str) -> None:
    """Refuses a function that is not linear and none that converts.

    Args:
        activation: The function, or the layer in its place.
        layer: The name of the layer that calls it.

    Raises:
        LoweringError: It names both.
    """
    if fused_name(activation) == "none" or activation in FUNCTIONS:
        return
    raise LoweringError(
        f"Expected an activation that converts: {', '.join(sorted(map(name_of, FUNCTIONS)))} of "
        f"keras.activations. Received: {layer!r} with activation={name_of(activation)!r}. Leave "
        f"the activation of {layer!r} out, and put a layer after it that computes it with "
        "Keras's activations or keras.ops."
    )


def _activation_int8(call: Call) -> QuantParams | None:
    activation = call.op.activation
    if fused_name(activation) == "none":
        return same(call)
    return calibrated(call) if activation in _INT8 else None


@lowers(K.Activation, int8=_activation_int8)
def _activation(call: Call) -> Tensor:
    return activated(call, call.input, call.op.activation, call.output)


def _relu_int8(call: Call) -> QuantParams | None:
    return None if relu_name(call.inner) is None else calibrated(call)


@lowers(K.ReLU, int8=_relu_int8)
def _relu(call: Call) -> Tensor:
    """``max(x, 0)``, or ``slope * (x - threshold)`` below the threshold, cut off at `max_value`."""
    layer = call.op
    name = relu_name(call.inner)
    if name is not None:
        return call.emitter.unary(name.upper(), call.input, call.output)
    if layer.threshold or (layer.max_value is not None and layer.negative_slope):
        raise LoweringError(
            "Expected a ReLU of threshold 0 that has a slope or a largest value. Received: "
            f"{call.layer!r} with max_value={layer.max_value}, negative_slope={layer.negative_slope}, "
            f"threshold={layer.threshold}. Write it with keras.ops.maximum and keras.ops.minimum."
        )
    slope = float(layer.negative_slope or 0)
    if layer.max_value is None:
        return call.emitter.leaky_relu(call.input, slope, call.output)
    positive = call.emitter.unary("RELU", call.input, call.output.also(suffix="positive"))
    return call.emitter.elementwise("MINIMUM", positive, float(layer.max_value), call.output)


@lowers_each({K.Softmax: "Permute"}, int8=calibrated)
@lowers_each({"softmax": "Transpose"}, reads=("axis",))
def _softmax(call: Call, remedy: str) -> Tensor:
    if call.op.axis not in (-1, len(call.node.shape) - 1):
        raise LoweringError(
            f"Expected a softmax over the last axis. Received: {call.layer!r} with axis={call.op.axis}. "
            f"{remedy} its input, and its output back."
        )
    return call.emitter.softmax(call.input, call.output)


@lowers(K.PReLU)
def _prelu(call: Call) -> Tensor:
    """``x`` where it is positive, ``alpha x`` elsewhere; alpha broadcasts against a sample."""
    slopes = ops.convert_to_numpy(call.op.alpha).astype(np.float32)
    return call.emitter.prelu(call.input, slopes, call.output)


@lowers(K.LeakyReLU, int8=calibrated)
@lowers("leaky_relu", reads=("negative_slope",))
def _leaky_relu(call: Call) -> Tensor:
    return call.emitter.leaky_relu(call.input, float(call.op.negative_slope), call.output)


@lowers(K.ELU)
def _elu(call: Call) -> Tensor:
    if call.op.alpha != 1:
        raise LoweringError(
            f"Expected an ELU of alpha 1. Received: {call.layer!r}, alpha={call.op.alpha}. Take alpha=1, "
            "or a LeakyReLU."
        )
    return call.emitter.unary("ELU", call.input, call.output)
