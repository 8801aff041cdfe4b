"""Layers that move values: reshapes, permutations, padding, cropping, repeating."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.emitter import Tensor
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import Call, lowers, same
from keras_sbn.folding.ops import Pick, Reshape

K = keras.layers


def require_channels_last(layer: Any) -> None:
    """Raises LoweringError where a layer has its channels first."""
    data_format = getattr(layer, "data_format", "channels_last")
    if data_format != "channels_last":
        raise LoweringError(
            "Expected channels last, the only order of the inference kernels. Received: "
            f"{layer.name!r} with data_format={data_format!r}. Build the network with "
            "data_format='channels_last', and permute the input if its channels come first."
        )


@lowers(Reshape, K.Reshape, K.Flatten, int8=same, bits="moves")
@lowers("reshape", reads=("newshape",), int8=same)
@lowers("expand_dims", "squeeze", reads=("axis",), int8=same)
def _reshape(call: Call) -> Tensor:
    # A Flatten of channels that come first permutes before.
    require_channels_last(call.op)
    return call.emitter.reshape(call.input, call.output)


@lowers(K.Permute, int8=same)
def _permute(call: Call) -> Tensor:
    return call.emitter.transpose(call.input, [0, *call.op.dims], call.output)


@lowers(K.ZeroPadding1D, K.ZeroPadding2D, int8=same)
def _zero_padding(call: Call) -> Tensor:
    require_channels_last(call.op)
    widths = [(0, 0), *np.atleast_2d(call.op.padding).tolist(), (0, 0)]
    return call.emitter.pad(call.input, widths, call.output)


@lowers(K.Cropping1D, K.Cropping2D, int8=same)
def _cropping(call: Call) -> Tensor:
    require_channels_last(call.op)
    begin = [0, *np.atleast_2d(call.op.cropping)[:, 0].tolist(), 0]
    return call.emitter.slice_of(call.input, begin, call.output)


@lowers(K.UpSampling2D, int8=same)
def _up_sampling(call: Call) -> Tensor:
    require_channels_last(call.op)
    if call.op.interpolation != "nearest":
        raise LoweringError(
            "Expected upsampling that repeats values. Received: "
            f"{call.layer!r} with interpolation={call.op.interpolation!r}. Take "
            "interpolation='nearest', or a Conv2DTranspose."
        )
    return call.emitter.resize_nearest(call.input, call.output)


@lowers(K.UpSampling1D, int8=same)
def _up_sampling_1d(call: Call) -> Tensor:
    """Steps are repeated as the rows of a map of width 1."""
    x = call.input
    _, steps, channels = x.shape
    as_map = call.output.also(shape=(1, steps, 1, channels), name="", suffix="map")
    row = call.emitter.reshape(x, as_map)
    shape = (1, steps * call.op.size, 1, channels)
    repeated = call.emitter.resize_nearest(row, as_map.also(shape=shape, suffix="repeated"))
    return call.emitter.reshape(repeated, call.output)


@lowers(K.RepeatVector, int8=same)
def _repeat_vector(call: Call) -> Tensor:
    parts = [call.input] * call.op.n
    flat = call.output.also(shape=(1, call.op.n * call.input.shape[-1]), name="", suffix="repeated")
    repeated = call.emitter.concatenation(parts, 1, flat)
    return call.emitter.reshape(repeated, call.output)


@lowers(Pick, int8=same)
def _pick(call: Call) -> Tensor:
    """One output of an operation that has several: a part of a split."""
    source: Any = call.node.input.op
    split, shape = source.operation, call.input.shape
    axis = split.axis % len(shape)
    places = split.indices_or_sections
    if isinstance(places, int):
        places = range(shape[axis] // places, shape[axis], shape[axis] // places)
    begin = [0] * len(shape)
    begin[axis] = (0, *places)[call.op.index]
    return call.emitter.slice_of(call.input, begin, call.output)
