"""Pools, over windows and over whole maps."""

from __future__ import annotations

import keras

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.layers.shapes import require_channels_last
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.conversion.registry import Call, calibrated, lowers, same

K = keras.layers


@lowers(K.MaxPooling2D, int8=same, bits="selects")
def _max_pool(call: Call) -> Tensor:
    return _pool(call, "MAX_POOL_2D")


def _averaged(call: Call) -> QuantParams:
    """An average of integers is no integer: it takes a fine scale that holds what it averages."""
    source = call.node.input
    quant, finest = same(call), call.scales.finest(source)
    if quant.scale > 2 * finest.scale:
        quant = finest
    call.inputs = [call.requantized(source, call.input, quant)]
    return quant


@lowers(K.AveragePooling2D, int8=_averaged)
def _average_pool(call: Call) -> Tensor:
    return _pool(call, "AVERAGE_POOL_2D")


def _pool(call: Call, operator: str) -> Tensor:
    require_channels_last(call.layer, call.op)
    window = Window(tuple(call.op.strides), call.op.padding)
    size = call.op.pool_size
    return call.emitter.pool(operator, call.input, call.output, window, size)


@lowers(K.GlobalMaxPooling2D, int8=same)
def _global_max(call: Call) -> Tensor:
    return _global_pool(call, "REDUCE_MAX")


@lowers(K.GlobalAveragePooling2D, int8=calibrated)
def _global_average(call: Call) -> Tensor:
    return _global_pool(call, "MEAN")


def _global_pool(call: Call, operator: str) -> Tensor:
    require_channels_last(call.layer, call.op)
    keep = bool(call.op.keepdims)
    if operator == "REDUCE_MAX" and call.input.dtype == "int16":
        # TensorFlow Lite Micro has it in int8 alone.
        size = call.input.shape[1:3]
        small = call.output.also(shape=(1, 1, 1, call.input.shape[-1]))
        if keep:
            return call.emitter.pool("MAX_POOL_2D", call.input, small, Window(), size)
        pooled = call.emitter.pool(
            "MAX_POOL_2D", call.input, small.also(name="", suffix="map"), Window(), size
        )
        return call.emitter.reshape(pooled, call.output)
    return call.emitter.reduction(operator, call.input, [1, 2], call.output, keep)
