"""Normalizations of a sample by its own mean and variance, in float32."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.layers.linear import scaled
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import Call, lowers

K = keras.layers


@lowers(K.LayerNormalization)
def _layer_normalization(call: Call) -> Tensor:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta``, mean and variance over some axes."""
    layer, rank = call.op, len(call.input.shape)
    if getattr(layer, "rms_scaling", False):
        raise LoweringError(
            f"Expected a LayerNormalization with a mean. Received: {call.layer!r} with rms_scaling=True. "
            "Write it with keras.ops.mean, multiply and divide."
        )
    axes = sorted(int(axis) % rank for axis in np.atleast_1d(layer.axis))
    # PyTorch normalizes over the last axes, of which Keras 3.15 takes as many as `axis` has.
    if keras.backend.backend() == "torch" and axes != list(range(rank - len(axes), rank)):
        raise LoweringError(
            "Expected a LayerNormalization over the last axes, with PyTorch. Received: "
            f"{call.layer!r} with axis={layer.axis}, which PyTorch takes for others. Permute its input, "
            "and its output back."
        )
    normalized = _normalized(call, call.input, axes, float(layer.epsilon))
    shape = [size if axis in axes else 1 for axis, size in enumerate(call.input.shape)]
    return _scaled(call, normalized, shape)


@lowers(K.GroupNormalization)
def _group_normalization(call: Call) -> Tensor:
    """A LayerNormalization over the positions and the channels of each group."""
    layer, shape = call.op, call.input.shape
    if layer.axis % len(shape) != len(shape) - 1:
        raise LoweringError(
            "Expected a GroupNormalization over the last axis, channels last. Received: "
            f"{call.layer!r} with axis={layer.axis}. Build the network with channels last."
        )
    groups = shape[-1] if layer.groups == -1 else layer.groups
    grouped = (1, int(np.prod(shape[1:-1])), groups, shape[-1] // groups)
    x = call.emitter.reshape(call.input, Output(call.layer, grouped, suffix="groups"))
    normalized = _normalized(call, x, [1, 3], float(layer.epsilon))
    y = call.emitter.reshape(normalized, call.output.also(suffix="normalized"))
    return _scaled(call, y, [1] * (len(shape) - 1) + [shape[-1]])


def _normalized(call: Call, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    """Emits ``(x - mean) / sqrt(variance + epsilon)``."""
    emitter, whole = call.emitter, call.output.also(shape=x.shape)
    reduced = whole.also(shape=tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)))
    mean = emitter.reduction("MEAN", x, axes, reduced.also(suffix="mean"), True)
    centered = emitter.elementwise("SUB", x, mean, whole.also(suffix="centered"))
    squares = emitter.elementwise("MUL", centered, centered, whole.also(suffix="squares"))
    variance = emitter.reduction("MEAN", squares, axes, reduced.also(suffix="variance"), True)
    above = emitter.elementwise("ADD", variance, epsilon, reduced.also(suffix="above"))
    factor = emitter.unary("RSQRT", above, reduced.also(suffix="factor"))
    return emitter.elementwise("MUL", centered, factor, whole.also(suffix="normalized_by_factor"))


def _scaled(call: Call, x: Tensor, shape: list[int]) -> Tensor:
    """Emits ``gamma x + beta``, with 1 and 0 for what the layer does not have."""
    layer, count = call.op, int(np.prod(shape))
    gamma = ops.convert_to_numpy(layer.gamma) if layer.scale else np.ones(count)
    beta = ops.convert_to_numpy(layer.beta) if layer.center else np.zeros(count)
    return scaled(call, x, np.reshape(gamma, shape[1:]), np.reshape(beta, shape[1:]))
