"""Pools, over windows and over whole maps."""

from __future__ import annotations

import keras

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.geometry import margins_of
from keras_sbn.conversion.layers.shapes import require_channels_last
from keras_sbn.conversion.operators import Window
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.quantization import QuantParams
from keras_sbn.conversion.registry import Call, calibrated, lowers_each, same

K = keras.layers


def _averaged(call: Call) -> QuantParams:
    """An average of integers is no integer: it takes a fine scale that holds what it averages."""
    source = call.node.input
    quant, finest = same(call), call.scales.finest(source)
    if quant.scale > 2 * finest.scale:
        quant = finest
    call.inputs = [call.requantized(source, call.input, quant)]
    return quant


def _refuse_repeated_edges(call: Call, window: Window) -> None:
    """Raises a LoweringError where Keras with PyTorch averages repeated edges, and no runtime does.

    It repeats them where one side of an axis is padded more than the other; elsewhere padding counts
    nowhere. A window that sees one row of the map and its copies has the mean of that row: those of 2.
    """
    sizes = tuple(call.op.pool_size)
    margins = margins_of(call.input.shape[1:3], sizes, window)
    repeats = keras.backend.backend() == "torch" and any(before != after for before, after in margins)
    seen = [size - pad for size, pads in zip(sizes, margins, strict=True) for pad in pads if pad]
    if repeats and any(rows != 1 for rows in seen):
        raise LoweringError(
            f"Expected {call.layer!r} to average the values inside the map, as runtimes do. Received: "
            f"padding='same' that pads {margins} before and after, where Keras with PyTorch repeats the "
            "edge. Train it with padding='valid'."
        )


@lowers_each({K.MaxPooling2D: "MAX_POOL_2D"}, int8=same, bits="selects")
@lowers_each({K.AveragePooling2D: "AVERAGE_POOL_2D"}, int8=_averaged)
def _pool(call: Call, operator: str) -> Tensor:
    require_channels_last(call.op)
    window = Window(tuple(call.op.strides), call.op.padding)
    if operator == "AVERAGE_POOL_2D":
        _refuse_repeated_edges(call, window)
    size = call.op.pool_size
    return call.emitter.pool(operator, call.input, call.output, window, size)


@lowers_each({K.GlobalMaxPooling2D: "REDUCE_MAX"}, int8=same)
@lowers_each({K.GlobalAveragePooling2D: "MEAN"}, int8=calibrated)
def _global_pool(call: Call, operator: str) -> Tensor:
    require_channels_last(call.op)
    keep = bool(call.op.keepdims)
    if operator == "REDUCE_MAX" and call.input.dtype == "int16":
        # TensorFlow Lite Micro has it in int8 alone.
        window, size = Window(), call.input.shape[1:3]
        small = call.output.also(shape=(1, 1, 1, call.input.shape[-1]))
        as_map = small if keep else small.also(name="", suffix="map")
        pooled = call.emitter.pool("MAX_POOL_2D", call.input, as_map, window, size)
        return pooled if keep else call.emitter.reshape(pooled, call.output)
    return call.emitter.reduction(operator, call.input, [1, 2], call.output, keep)
