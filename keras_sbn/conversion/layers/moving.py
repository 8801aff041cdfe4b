"""Functions of `keras.ops` that move values: parts, copies, another order of axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.plan import LoweringError
from keras_sbn.conversion.registry import Call, lowers, one_scale, same
from keras_sbn.folding.kinds import GET_ITEM


@lowers("split", reads=("indices_or_sections", "axis"), int8=same)
def _split(call: Call) -> Tensor:
    # Every part is a slice of the whole (`shapes`).
    return call.input


@lowers("pad", reads=("pad_width", "mode"), constants=True)
def _pad(call: Call) -> Tensor:
    widths = np.array(call.op.pad_width, np.int32)
    if call.op.mode != "constant" or widths.shape != (len(call.node.shape), 2):
        raise LoweringError(
            "Expected padding with a constant and two widths an axis. Received: "
            f"{call.layer!r} with mode={call.op.mode!r}, pad_width={call.op.pad_width}. Give a pair of "
            "widths for every axis, the batch included."
        )
    others = [value for value in call.arguments[1:] if value is not None]
    value = float(np.asarray(others[0])) if others else 0.0
    stored = None if value == 0 else np.array(value, np.float32)
    return call.emitter.pad(call.input, widths.tolist(), call.output, stored)


@lowers(GET_ITEM, int8=same, constants=True)
def _get_item(call: Call) -> Tensor:
    """``x[:, ::2, 0]``: a slice, then a reshape where axes go or come."""
    shape = call.input.shape
    places = _places(call.arguments[1], len(shape))
    if places[0] not in (slice(None), slice(0, None), slice(None, None, 1), slice(0, None, 1)):
        raise LoweringError(
            f"Expected indices that keep the batch. Received: {call.layer!r} with a first index of "
            f"{places[0]}. Begin with a colon: x[:, ...]."
        )
    taken = [
        range(*place.indices(size)) if isinstance(place, slice) else range(size)[place:][:1]
        for place, size in zip(places, shape, strict=True)
    ]
    output = call.output.also(shape=tuple(map(len, taken)), name="", suffix="slice")
    begin, strides = [indices.start for indices in taken], [indices.step for indices in taken]
    if output.shape == call.output.shape:
        return call.emitter.slice_of(call.input, begin, call.output, strides)
    x = call.input
    if output.shape != shape or set(strides) != {1}:
        x = call.emitter.slice_of(x, begin, output, strides)
    return call.emitter.reshape(x, call.output)


def _places(key: Any, rank: int) -> list[int | slice]:
    """The index of every axis, without the new axes and with those that are left out."""
    given = [index for index in (key if isinstance(key, tuple | list) else (key,)) if index is not None]
    if Ellipsis not in given:
        given.append(Ellipsis)
    place = given.index(Ellipsis)
    return [*given[:place], *[slice(None)] * (rank - len(given) + 1), *given[place + 1 :]]


@lowers("flip", reads=("axis",), int8=same)
def _flip(call: Call) -> Tensor:
    rank = len(call.input.shape)
    axes = range(rank) if call.op.axis is None else np.atleast_1d(call.op.axis)
    flipped = {int(axis) % rank for axis in axes}
    if 0 in flipped:
        raise LoweringError(
            f"Expected axes of a sample. Received: {call.layer!r}, which flips the batch. Give the axes "
            "of a sample: axis=2."
        )
    begin = [size - 1 if axis in flipped else 0 for axis, size in enumerate(call.input.shape)]
    strides = [-1 if axis in flipped else 1 for axis in range(rank)]
    return call.emitter.slice_of(call.input, begin, call.output, strides)


@lowers("roll", reads=("shift", "axis"), int8=same)
def _roll(call: Call) -> Tensor:
    rank = len(call.input.shape)
    if call.op.axis is None or 0 in {int(axis) % rank for axis in np.atleast_1d(call.op.axis)}:
        raise LoweringError(
            f"Expected axes of a sample. Received: {call.layer!r}, which moves values from sample to "
            "sample. Give the axes of a sample: axis=2."
        )
    x = call.input
    shifts, axes = np.broadcast_arrays(np.atleast_1d(call.op.shift), np.atleast_1d(call.op.axis))
    steps = [
        (int(axis) % rank, -int(shift) % x.shape[axis])
        for shift, axis in zip(shifts, axes, strict=True)
        if shift % x.shape[axis]
    ]
    for index, (axis, begin) in enumerate(steps):
        parts = [
            _part(call, x, axis, range(begin, x.shape[axis]), f"end_{index}"),
            _part(call, x, axis, range(begin), f"start_{index}"),
        ]
        x = call.emitter.concatenation(parts, axis, _step(call, x.shape, index, len(steps)))
    return x


def _step(call: Call, shape: tuple[int, ...], index: int, count: int) -> Output:
    """What one of several steps writes: the last one the output."""
    if index == count - 1:
        return call.output
    return call.output.also(shape=shape, name="", suffix=f"step_{index}")


def _part(call: Call, x: Tensor, axis: int, places: range, suffix: str) -> Tensor:
    """The values at some places of one axis that follow one another."""
    begin, shape = [0] * len(x.shape), list(x.shape)
    begin[axis], shape[axis] = places.start, len(places)
    return call.emitter.slice_of(x, begin, call.output.also(shape=tuple(shape), name="", suffix=suffix))


@lowers("tile", reads=("repeats",), int8=same)
def _tile(call: Call) -> Tensor:
    x = call.input
    repeats = np.atleast_1d(call.op.repeats).tolist()
    if len(repeats) > len(x.shape):
        raise LoweringError(
            f"Expected a number of copies for each axis. Received: {call.layer!r} with repeats={repeats} "
            f"and a value of {len(x.shape)} axes. Add the axes with keras.ops.expand_dims before."
        )
    first = len(x.shape) - len(repeats)
    steps = [(first + place, count) for place, count in enumerate(repeats) if count != 1]
    for index, (axis, count) in enumerate(steps):
        shape = (*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :])
        x = call.emitter.concatenation([x] * count, axis, _step(call, shape, index, len(steps)))
    return x


@lowers("repeat", reads=("repeats", "axis"), int8=same)
def _repeat(call: Call) -> Tensor:
    """Each value of an axis several times: copies along an axis of one value behind it."""
    x, axis = call.input, call.op.axis
    counts = set(np.atleast_1d(call.op.repeats).tolist())
    if axis is None or len(counts) != 1:
        raise LoweringError(
            f"Expected `repeat` with one number along an axis. Received: {call.layer!r} with "
            f"repeats={call.op.repeats}, axis={axis}. Give both, or use keras.ops.concatenate."
        )
    (count,) = counts
    before = math.prod(x.shape[: axis % len(x.shape) + 1])
    behind = math.prod(x.shape) // before
    rows = call.emitter.reshape(x, call.output.also(shape=(before, 1, behind), name="", suffix="rows"))
    output = call.output.also(shape=(before, count, behind), name="", suffix="copies")
    return call.emitter.reshape(call.emitter.concatenation([rows] * count, 1, output), call.output)


@lowers("stack", reads=("axis",), int8=one_scale)
def _stack(call: Call) -> Tensor:
    shape = list(call.output.shape)
    axis = call.op.axis % len(shape)
    shape[axis] = 1
    parts = [
        call.emitter.reshape(x, call.output.also(shape=tuple(shape), name="", suffix=f"part_{index}"))
        for index, x in enumerate(call.inputs)
    ]
    return call.emitter.concatenation(parts, axis, call.output)


@lowers("moveaxis", reads=("source", "destination"), int8=same)
def _moveaxis(call: Call) -> Tensor:
    return _transposed(call, lambda x: np.moveaxis(x, call.op.source, call.op.destination))


@lowers("swapaxes", reads=("axis1", "axis2"), int8=same)
def _swapaxes(call: Call) -> Tensor:
    return _transposed(call, lambda x: np.swapaxes(x, call.op.axis1, call.op.axis2))


@lowers("transpose", reads=("axes",), int8=same)
def _transpose(call: Call) -> Tensor:
    return _transposed(call, lambda x: np.transpose(x, call.op.axes))


def _transposed(call: Call, move: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Axes in the order in which `move` leaves those of an array, told apart by their sizes."""
    axes = range(1, len(call.input.shape) + 1)
    order = [size - 1 for size in move(np.empty(tuple(axes), bool)).shape]
    return call.emitter.transpose(call.input, order, call.output)
