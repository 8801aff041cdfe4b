"""Which C function does which operator, and with what arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sbn import bits
from keras_sbn.c_code.loops import Axis, broadcast_axes, merged, strides
from keras_sbn.c_code.memory import SIZES, elements
from keras_sbn.c_code.source import Body, runtime
from keras_sbn.c_code.steps import Step, is_flip
from keras_sbn.tflite.options import ACTIVATION, PADDING
from keras_sbn.tflite.reader import TensorInfo
from keras_sbn.tflite.slices import strided

_Write = Callable[[Body, Step], None]
_SIGNED = "0x80u"
_ACTIVATIONS = {number: name for name, number in ACTIVATION.items()}

#: What writes the calls of an operator, by its name and the type of what it writes.
FUNCTIONS: dict[tuple[str, str], _Write] = {}


def _writes(*names: str, types: tuple[str, ...] = ("float32",)) -> Callable[[_Write], _Write]:
    def register(function: _Write) -> _Write:
        for name in names:
            for dtype in types:
                FUNCTIONS[name, dtype] = function
        return function

    return register


def write(body: Body, step: Step) -> None:
    """Writes the calls of a step.

    Raises:
        ValueError: If no C function does it; the message names the operator and what it writes.
    """
    function = FUNCTIONS.get((step.name, step.output.dtype))
    if function is None:
        known = sorted({name for name, _ in FUNCTIONS if "+" not in name})
        raise ValueError(
            f"Expected operators that have a C function: {', '.join(known)}. Received: {step.name} "
            f"that writes {step.output.dtype}, of {step.output.name!r}. Take another layer there, or end "
            "the model before it."
        )
    function(body, step)


def _input(step: Step, index: int = 0) -> TensorInfo:
    tensor = step.inputs[index]
    assert tensor is not None
    return tensor


def _floats(step: Step) -> TensorInfo:
    """The first input, of floats."""
    x = _input(step)
    if x.dtype != "float32":
        raise ValueError(
            f"Expected a C function of {step.name} that reads float32. Received: {step.output.name!r}, "
            f"which reads {x.dtype}."
        )
    return x


def _padding(size: int, window: int, stride: int, dilation: int, positions: int, same: bool) -> int:
    """What "same" puts before the values, as TFLite has it."""
    missing = (positions - 1) * stride + dilation * (window - 1) + 1 - size
    return max(missing, 0) // 2 if same else 0


def _window(body: Body, step: Step, size: tuple[int, int], fields: tuple[str, ...], same: int) -> str:
    """The window of a convolution or a pool; `fields` are the names of its strides and dilations."""
    _, height, width, channels = _input(step).shape
    _, out_height, out_width, _ = step.output.shape
    filters = step.output.shape[-1]
    down, right, *rates = (int(step.options[name]) for name in fields)
    dilation = tuple(rates) or (1, 1)
    above = _padding(height, size[0], down, dilation[0], out_height, same == PADDING["same"])
    before = _padding(width, size[1], right, dilation[1], out_width, same == PADDING["same"])
    source, target = (height, width, channels), (out_height, out_width, filters)
    moves = (down, right, *dilation, above, before)
    return body.structure("sbn_window", (*source, *size, *moves, *target))


_STRIDES = ("strideH", "strideW")
_DILATED = (*_STRIDES, "dilationHFactor", "dilationWFactor")
_BINARY_DILATED = (
    *("stride_height", "stride_width"),
    *("dilation_height_factor", "dilation_width_factor"),
)


def _activate(body: Body, step: Step, option: str = "fusedActivationFunction") -> None:
    """Writes the fused activation function, over the values."""
    name = _ACTIVATIONS[int(step.options.get(option, 0))]
    if f"sbn_{name}" not in (*runtime(), "sbn_none"):
        raise ValueError(
            f"Expected a fused activation that has a C function. Received: {name}, of "
            f"{step.output.name!r}."
        )
    if name != "none":
        y = body.pointer(step.output)
        body.call("sbn_map", y, y, elements(step.output), f"sbn_{name}")


def _weights(body: Body, tensor: TensorInfo) -> str:
    """A float kernel, as it is stored."""
    stored = body.steps.constants.get(id(tensor), tensor)
    name = body.constant(stored)
    if stored is tensor:
        return body.structure("sbn_weights", (name, "0", "1.0f"))
    (scale,) = stored.scales
    if set(stored.zero_points) != {0}:
        raise ValueError(f"Expected a kernel with zero point 0. Received: {tensor.name!r}.")
    return body.structure("sbn_weights", ("0", name, body.number(scale)))


def _vector(body: Body, step: Step, index: int, neutral: float | None = None) -> str:
    """A constant a channel; null where it is left out, or holds what changes nothing."""
    tensor = step.inputs[index] if index < len(step.inputs) else None
    if tensor is None:
        return "0"
    values = body.steps.values(tensor)
    if neutral is not None and (values == neutral).all():
        return "0"
    return body.array(tensor.name, values)


# --- Convolutions


@_writes("LceBconv2d", types=("int32",))
def _binary_convolution(body: Body, step: Step) -> None:
    """Bits: p > tau, for p negative products of K, is a = K - 2 p < K - 2 tau."""
    products = int(np.prod(_input(step, 1).shape[1:3])) * int(step.options["channels_in"])
    tau = body.steps.values(_input(step, 4)).astype(np.int64)
    _compared_sums(body, step, products - 2 * tau)


@_writes("LceBconv2d+LceQuantize", types=("int32",))
def _binary_sums_compared(body: Body, step: Step) -> None:
    _compared_sums(body, step, step.options["least"])


def _compared_sums(body: Body, step: Step, thresholds: np.ndarray) -> None:
    name = f"{step.output.name}_threshold"
    limit = np.iinfo(np.int32)
    stored = np.clip(thresholds, limit.min, limit.max).astype(np.int32)
    body.call(
        "sbn_binary_convolution",
        body.pointer(_input(step)),
        body.bits(_input(step, 1)),
        body.array(name, stored),
        body.pointer(step.output),
        *_binary_window(body, step, len(stored)),
    )


@_writes("LceBconv2d")
def _binary_sums(body: Body, step: Step) -> None:
    body.call(
        "sbn_binary_sums",
        body.pointer(_input(step)),
        body.bits(_input(step, 1)),
        _vector(body, step, 2, neutral=1.0),
        _vector(body, step, 3, neutral=0.0),
        body.pointer(step.output),
        *_binary_window(body, step, step.output.shape[-1]),
    )
    _activate(body, step, "fused_activation_function")


def _binary_window(body: Body, step: Step, filters: int) -> tuple[str, int, int]:
    """Window, channels of the input, and whether it is +1 beyond the map."""
    kernel, options = _input(step, 1), step.options
    size = (kernel.shape[1], kernel.shape[2])
    text = _window_of_filters(body, step, size, _BINARY_DILATED, int(options["padding"]), filters)
    return text, int(options["channels_in"]), int(options["pad_values"] == 1)


def _window_of_filters(
    body: Body, step: Step, size: tuple[int, int], fields: tuple[str, ...], same: int, filters: int
) -> str:
    """The window of a step whose output has words of bits: the filters are not its channels."""
    shape = (*step.output.shape[:-1], filters)
    output = TensorInfo(step.output.name, shape, step.output.dtype, 0)
    return _window(body, Step(step.name, step.inputs, output, step.options), size, fields, same)


@_writes("CONV_2D+LceQuantize", types=("int32",))
def _byte_convolution(body: Body, step: Step) -> None:
    x, kernel, bias = (_input(step, index) for index in range(3))
    (zero,) = x.zero_points
    # What is stored unsigned, 128 higher, is read as if it were signed.
    unsigned = x.dtype == "uint8"
    size = (kernel.shape[1], kernel.shape[2])
    window = _window_of_filters(body, step, size, _DILATED, int(step.options["padding"]), kernel.shape[0])
    body.call(
        "sbn_byte_convolution",
        body.pointer(x, "uint8"),
        body.constant(kernel),
        body.constant(bias),
        body.pointer(step.output),
        window,
        kernel.shape[3],
        "0" if unsigned else _SIGNED,
        zero - (128 if unsigned else 0),
    )


@_writes("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(body: Body, step: Step) -> None:
    x, kernel = _floats(step), _input(step, 1)
    size = (kernel.shape[1], kernel.shape[2])
    window = _window(body, step, size, _DILATED, int(step.options["padding"]))
    depth = (kernel.shape[3],) if step.name == "CONV_2D" else ()
    name = "sbn_convolution" if step.name == "CONV_2D" else "sbn_depthwise_convolution"
    bias = _vector(body, step, 2, neutral=0.0)
    arguments = (body.pointer(x), _weights(body, kernel), bias, body.pointer(step.output), window)
    body.call(name, *arguments, *depth)
    _activate(body, step)


@_writes("FULLY_CONNECTED")
def _fully_connected(body: Body, step: Step) -> None:
    units, features = _input(step, 1).shape
    positions = elements(step.output) // units
    window = (1, positions, features, 1, 1, 1, 1, 1, 1, 0, 0, 1, positions, units)
    body.call(
        "sbn_convolution",
        body.pointer(_input(step)),
        _weights(body, _input(step, 1)),
        _vector(body, step, 2, neutral=0.0),
        body.pointer(step.output),
        body.structure("sbn_window", window),
        features,
    )
    _activate(body, step)


@_writes("TRANSPOSE_CONV")
def _transposed_convolution(body: Body, step: Step) -> None:
    kernel, x = _input(step, 1), _input(step, 2)
    _, height, width, channels = x.shape
    _, out_height, out_width, filters = step.output.shape
    size, same = kernel.shape[1:3], step.options["padding"] == PADDING["same"]
    down, right = (int(step.options[name]) for name in _STRIDES)
    source, target = (height, width, channels), (out_height, out_width, filters)
    source, target = (height, width, channels), (out_height, out_width, filters)
    above = _padding(out_height, size[0], down, 1, height, same)
    before = _padding(out_width, size[1], right, 1, width, same)
    body.call(
        "sbn_transposed_convolution",
        body.pointer(x),
        _weights(body, kernel),
        _vector(body, step, 3, neutral=0.0),
        body.pointer(step.output),
        body.structure("sbn_window", (*source, *size, down, right, 1, 1, above, before, *target)),
    )
    _activate(body, step)


# --- Pools and reductions


@_writes("LceBMaxPool2d", types=("int32",))
def _binary_pool(body: Body, step: Step) -> None:
    size = (int(step.options["filter_height"]), int(step.options["filter_width"]))
    window = _window(body, step, size, _BINARY_DILATED[:2], int(step.options["padding"]))
    body.call("sbn_binary_pool", body.pointer(_input(step)), body.pointer(step.output), window)


@_writes("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(body: Body, step: Step) -> None:
    size = (int(step.options["filterHeight"]), int(step.options["filterWidth"]))
    window = _window(body, step, size, _STRIDES, int(step.options["padding"]))
    name = "sbn_max_pool" if step.name == "MAX_POOL_2D" else "sbn_average_pool"
    body.call(name, body.pointer(_input(step)), body.pointer(step.output), window)
    _activate(body, step)


_REDUCTIONS = {
    "MEAN": ("sbn_add", "0.0f"),
    "SUM": ("sbn_add", "0.0f"),
    "REDUCE_MAX": ("sbn_maximum", "-HUGE_VALF"),
    "REDUCE_MIN": ("sbn_minimum", "HUGE_VALF"),
}


@_writes(*_REDUCTIONS)
def _reduction(body: Body, step: Step) -> None:
    x, rank = _input(step), len(_input(step).shape)
    reduced = {int(axis) % rank for axis in np.ravel(body.steps.values(_input(step, 1)))}
    kept = [1 if axis in reduced else size for axis, size in enumerate(x.shape)]
    steps = [0 if axis in reduced else step for axis, step in enumerate(strides(kept))]
    loops = body.broadcast(merged(list(zip(x.shape, strides(x.shape), steps, strict=True))), step)
    function, start = _REDUCTIONS[step.name]
    y, count = body.pointer(step.output), elements(step.output)
    body.call("sbn_reduce", body.pointer(x), y, count, start, loops, function)
    if step.name == "MEAN":
        body.call("sbn_divide_all", y, count, body.number(elements(x) // count))


# --- Value by value


@_writes("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "PRELU")
def _pairs(body: Body, step: Step) -> None:
    x, y = _input(step), _input(step, 1)
    loops = body.broadcast(broadcast_axes(step.output.shape, x.shape, y.shape), step)
    pointers = (body.pointer(x), body.pointer(y), body.pointer(step.output))
    body.call("sbn_combine", *pointers, loops, f"sbn_{step.name.lower()}")
    _activate(body, step)


@_writes("LEAKY_RELU")
def _leaky_relu(body: Body, step: Step) -> None:
    slope = body.array("slope", np.array([step.options["alpha"]], np.float32))
    loops = body.broadcast(broadcast_axes(step.output.shape, _input(step).shape, (1,)), step)
    body.call(
        "sbn_combine", body.pointer(_input(step)), slope, body.pointer(step.output), loops, "sbn_prelu"
    )


@_writes("ABS", "CEIL", "ELU", "EXP", "FLOOR", "GELU", "LOG", "LOGISTIC", "NEG")
@_writes("RELU", "RELU6", "ROUND", "RSQRT", "SQRT", "TANH")
def _each(body: Body, step: Step) -> None:
    name = f"sbn_{step.name.lower()}" + ("_tanh" if step.options.get("approximate") else "")
    x, y = body.pointer(_input(step)), body.pointer(step.output)
    body.call("sbn_map", x, y, elements(step.output), name)


@_writes("SOFTMAX")
def _softmax(body: Body, step: Step) -> None:
    columns = step.output.shape[-1]
    rows = elements(step.output) // columns
    body.call("sbn_softmax", body.pointer(_input(step)), body.pointer(step.output), rows, columns)


# --- Values stored another way


def _positions(tensor: TensorInfo) -> int:
    return elements(tensor) // tensor.shape[-1]


@_writes("LceQuantize", types=("int32",))
def _pack(body: Body, step: Step) -> None:
    x = _floats(step)
    body.call("sbn_pack", body.pointer(x), body.pointer(step.output), _positions(x), x.shape[-1])


@_writes("LceDequantize")
def _unpack(body: Body, step: Step) -> None:
    y = step.output
    if _input(step).shape[-1] != bits.words(y.shape[-1]):
        raise ValueError(f"Expected bits of {y.shape[-1]} channels. Received: {_input(step).shape}.")
    pointers = (body.pointer(_input(step)), body.pointer(y))
    body.call("sbn_unpack", *pointers, _positions(y), y.shape[-1])


@_writes("QUANTIZE", types=("int8", "uint8"))
def _quantize(body: Body, step: Step) -> None:
    x, y, count = _input(step), step.output, elements(step.output)
    if is_flip(step):
        body.call("sbn_flip", body.pointer(x, "uint8"), body.pointer(y, "uint8"), count)
        return
    x = _floats(step)
    (scale,), (zero,) = y.scales, y.zero_points
    flip = _SIGNED if y.dtype == "int8" else "0"
    pointers = (body.pointer(x), body.pointer(y, "uint8"))
    body.call("sbn_quantize", *pointers, count, body.number(scale), zero, flip)


@_writes("DEQUANTIZE")
def _dequantize(body: Body, step: Step) -> None:
    x = _input(step)
    (scale,), (zero,) = x.scales, x.zero_points
    flip = _SIGNED if x.dtype == "int8" else "0"
    pointers = (body.pointer(x, "uint8"), body.pointer(step.output))
    body.call("sbn_dequantize", *pointers, elements(x), body.number(scale), zero, flip)


# --- Values moved

_ANY = ("float32", "int32", "int8", "uint8")


def _move(body: Body, step: Step, x: TensorInfo, axes: list[Axis], begin: int = 0, to: int = 0) -> None:
    """Writes the copy of elements along axes; `begin` and `to` are the first ones read and written."""
    size, run, loops = SIZES[x.dtype], SIZES[x.dtype], merged(axes)
    if loops and loops[-1][1:] == (1, 1):
        run *= loops.pop()[0]
    loops = [(count, x_step * size, y_step * size) for count, x_step, y_step in loops]
    move = body.moves(loops, run, step)
    body.call("sbn_copy", body.pointer(x, offset=begin), body.pointer(step.output, offset=to), move)


@_writes("CONCATENATION", types=_ANY)
def _concatenation(body: Body, step: Step) -> None:
    axis, shape = int(step.options["axis"]) % len(step.output.shape), step.output.shape
    to = 0
    for source in step.sources:
        axes = list(zip(source.shape, strides(source.shape), strides(shape), strict=True))
        _move(body, step, source, axes, to=to)
        to += source.shape[axis] * strides(shape)[axis]


@_writes("SLICE", types=_ANY)
def _slice(body: Body, step: Step) -> None:
    x, y = _input(step), step.output
    begin = [int(value) for value in np.ravel(body.steps.values(_input(step, 1)))]
    first = sum(value * stride for value, stride in zip(begin, strides(x.shape), strict=True))
    axes = list(zip(y.shape, strides(x.shape), strides(y.shape), strict=True))
    _move(body, step, x, axes, begin=first)


@_writes("STRIDED_SLICE", types=_ANY)
def _strided_slice(body: Body, step: Step) -> None:
    x = _input(step)
    places = [np.ravel(body.steps.values(_input(step, index))).tolist() for index in (1, 2, 3)]
    taken = strided(step.options, x.shape, *places)
    pairs = list(zip(taken, strides(x.shape), strict=True))
    # Axes of one place may be none of the output.
    counts = [len(indices) for indices in taken]
    axes = [
        (count, indices.step * stride, to)
        for count, (indices, stride), to in zip(counts, pairs, strides(counts), strict=True)
    ]
    _move(body, step, x, axes, begin=sum(indices.start * stride for indices, stride in pairs))


@_writes("PAD", "PADV2", types=_ANY)
def _pad(body: Body, step: Step) -> None:
    x, y = _input(step), step.output
    widths = body.steps.values(_input(step, 1)).reshape(-1, 2)
    if step.name == "PADV2":
        value = body.steps.values(_input(step, 2)).reshape(1)
    else:
        value = np.array(y.zero_points[:1] or [0]).astype(y.dtype)
    stored = body.array("padding", value)
    body.call("sbn_fill", body.pointer(y), elements(y), stored, SIZES[y.dtype])
    pairs = zip(widths[:, 0].tolist(), strides(y.shape), strict=True)
    axes = list(zip(x.shape, strides(x.shape), strides(y.shape), strict=True))
    _move(body, step, x, axes, to=sum(before * stride for before, stride in pairs))


@_writes("TRANSPOSE", types=_ANY)
def _transpose(body: Body, step: Step) -> None:
    x, y = _input(step), step.output
    order = np.ravel(body.steps.values(_input(step, 1))).tolist()
    steps = [strides(x.shape)[axis] for axis in order]
    _move(body, step, x, list(zip(y.shape, steps, strides(y.shape), strict=True)))


@_writes("RESIZE_NEAREST_NEIGHBOR", types=_ANY)
def _repeat(body: Body, step: Step) -> None:
    x, y = _input(step), step.output
    _, height, width, channels = x.shape
    if y.shape[1] % height or y.shape[2] % width:
        raise ValueError(f"Expected rows and columns repeated whole times. Received: {y.name!r}.")
    down, right = y.shape[1] // height, y.shape[2] // width
    row = y.shape[2] * channels
    _move(
        body,
        step,
        x,
        [
            (height, width * channels, down * row),
            (down, 0, row),
            (width, channels, right * channels),
            (right, 0, channels),
            (channels, 1, 1),
        ],
    )


def write_copy(body: Body, tensor: TensorInfo, number: int) -> None:
    """Writes the copy of a value to an output."""
    move = body.structure("sbn_move", _moved(elements(tensor) * SIZES[tensor.dtype]))
    body.call("sbn_copy", body.pointer(tensor), body.output_name(number), move)


def _moved(run: int) -> tuple[Any, ...]:
    return ((1,) * 5, (0,) * 5, (0,) * 5, run)
