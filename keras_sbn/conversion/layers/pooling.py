"""Pools, over windows and over whole maps."""

from __future__ import annotations

import keras

from keras_sbn.conversion import operators
from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.geometry import margins_of
from keras_sbn.conversion.layers.shapes import require_channels_last
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import LoweringError
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
    _refuse_repeated_edges(call)
    return _pool(call, "AVERAGE_POOL_2D")


def _refuse_repeated_edges(call: Call) -> None:
    """Raises a LoweringError where Keras with PyTorch averages repeated edges, and no runtime does.

    That is where one side of an axis is padded more than the other; elsewhere padding counts nowhere.
    """
    window = Window(tuple(call.op.strides), call.op.padding)
    margins = margins_of(call.input.shape[1:3], tuple(call.op.pool_size), window)
    if keras.backend.backend() == "torch" and any(before != after for before, after in margins):
        raise LoweringError(
            f"Expected {call.layer!r} to average the values inside the map, as runtimes do. Received: "
            f"padding='same' that pads {margins} before and after, where Keras with PyTorch repeats the "
            "edge. Train it with padding='valid'."
        )


def _pool(call: Call, operator: str) -> Tensor:
    require_channels_last(call.layer, call.op)
    window = Window(tuple(call.op.strides), call.op.padding)
    size = call.op.pool_size
    return operators.pool(call.emitter, operator, call.input, call.output, window, size)


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
            return operators.pool(call.emitter, "MAX_POOL_2D", call.input, small, Window(), size)
        pooled = operators.pool(
            call.emitter, "MAX_POOL_2D", call.input, small.also(name="", suffix="map"), Window(), size
        )
        return operators.reshape(call.emitter, pooled, call.output)
    return operators.reduction(call.emitter, operator, call.input, [1, 2], call.output, keep)
