"""Which ONNX nodes do which operator.

The sums of ±1, and those of an image and whole weights, are exact in float32 as long as they stay below
2^24; a layer that could go beyond is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sbn.onnx_model.graph import Graph
from keras_sbn.tflite.options import ACTIVATION, PADDING
from keras_sbn.tflite.reader import OperatorInfo, TensorInfo
from keras_sbn.tflite.slices import strided

_Write = Callable[[Graph, OperatorInfo], None]
#: Whole numbers up to it are all float32 numbers.
_EXACT = 2**24
_LARGEST_BYTE = 255
_ACTIVATIONS = {number: name for name, number in ACTIVATION.items()}
_FUNCTIONS: dict[str, _Write] = {}
#: Where axes with channels last are with channels first.
_AXES = {0: 0, 1: 2, 2: 3, 3: 1}


def _writes(*names: str) -> Callable[[_Write], _Write]:
    def register(function: _Write) -> _Write:
        for name in names:
            _FUNCTIONS[name] = function
        return function

    return register


def write(graph: Graph, op: OperatorInfo) -> None:
    """Adds the nodes of an operator.

    Raises:
        ValueError: If there are none that do it; the message names the operator and what it writes.
    """
    function = _FUNCTIONS.get(op.name)
    if function is None:
        raise ValueError(
            f"Expected operators that ONNX has: {', '.join(sorted(_FUNCTIONS))}. Received: {op.name}, "
            f"which writes {op.outputs[0].name!r}. Take another layer there, or end the model before it."
        )
    function(graph, op)


def _input(op: OperatorInfo, index: int = 0) -> TensorInfo:
    tensor = op.inputs[index]
    assert tensor is not None
    return tensor


def _optional(graph: Graph, op: OperatorInfo, index: int) -> np.ndarray | None:
    tensor = op.inputs[index] if index < len(op.inputs) else None
    return None if tensor is None else graph.values(tensor)


def _per_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, -1, 1, 1).astype(np.float32)


def _pads(
    size: int, window: int, stride: int, dilation: int, positions: int, same: bool
) -> tuple[int, int]:
    """What "same" puts before and after the values, as TFLite has it."""
    missing = max((positions - 1) * stride + dilation * (window - 1) + 1 - size, 0) if same else 0
    return missing // 2, missing - missing // 2


def _window(
    graph: Graph, op: OperatorInfo, size: tuple[int, ...], fields: tuple[str, ...], padding: int
) -> dict[str, Any]:
    """Strides, dilations and pads, as ONNX has them."""
    _, height, width, _ = graph.shape(_input(op))
    _, rows, columns, _ = op.outputs[0].shape
    down, right, *rates = (int(op.options[name]) for name in fields)
    rates = rates or [1, 1]
    same = padding == PADDING["same"]
    above, below = _pads(height, size[0], down, rates[0], rows, same)
    before, after = _pads(width, size[1], right, rates[1], columns, same)
    found: dict[str, Any] = {"strides": [down, right], "pads": [above, before, below, after]}
    if rates != [1, 1]:
        found["dilations"] = rates
    return found


_STRIDES = ("strideH", "strideW")
_DILATED = (*_STRIDES, "dilationHFactor", "dilationWFactor")
_BINARY_STRIDES = ("stride_height", "stride_width")
_BINARY_DILATED = (*_BINARY_STRIDES, "dilation_height_factor", "dilation_width_factor")


def _activated(graph: Graph, op: OperatorInfo, x: str, option: str = "fusedActivationFunction") -> str:
    name = _ACTIVATIONS[int(op.options.get(option, 0))]
    y = op.outputs[0].name
    if name == "relu":
        return graph.node("Relu", [x], y)
    if name in ("relu6", "relu_n1_to_1"):
        low, high = (0.0, 6.0) if name == "relu6" else (-1.0, 1.0)
        return graph.node("Clip", [x, graph.number(low), graph.number(high)], y)
    return x


# --- Convolutions


def _unscaled(graph: Graph, sums: str, name: str) -> str:
    """The sums of a convolution, with a node behind it that changes none of them.

    A runtime would put a factor that follows into the kernel of whole numbers, and round the sums. It
    does not reach past another node; onnxruntime computes a Clip inside of the convolution.
    """
    most = float(np.finfo(np.float32).max)
    return graph.node("Clip", [sums, graph.number(-most), graph.number(most)], f"{name}/whole")


@_writes("LceBconv2d")
def _binary_convolution(graph: Graph, op: OperatorInfo) -> None:
    x, output, options = _input(op), op.outputs[0], op.options
    depth = int(options["channels_in"])
    kernel = graph.values(_input(op, 1), depth)
    products = int(np.prod(kernel.shape[1:]))
    _require_exact(output, products)
    window = _window(graph, op, kernel.shape[1:3], _BINARY_DILATED, int(options["padding"]))
    name, source = output.name, graph.first(x)
    if options["pad_values"] == 1 and any(window["pads"]):
        above, before, below, after = window["pads"]
        widths = np.array([0, 0, above, before, 0, 0, below, after], np.int64)
        inputs = [source, graph.constant(widths, "pads"), graph.number(1.0)]
        source = graph.node("Pad", inputs, f"{name}/padded")
        window["pads"] = [0, 0, 0, 0]
    weights = graph.kernel(kernel.transpose(0, 3, 1, 2), f"{name}/kernel", binary=True)
    sums = graph.node("Conv", [source, weights], f"{name}/sums", **window)
    if output.dtype == "int32":
        tau = graph.values(_input(op, 4)).astype(np.int64)
        # Bit 1, which is -1, where p > tau, and the sum is K - 2 p.
        least = np.clip(products - 2 * tau, -_EXACT, _EXACT)
        graph.set(output, graph.bipolar(sums, least, name), channels=len(least))
        return
    sums = _unscaled(graph, sums, name)
    for operator, index, neutral in (("Mul", 2, 1.0), ("Add", 3, 0.0)):
        vector = _optional(graph, op, index)
        if vector is not None and (vector != neutral).any():
            constant = graph.constant(_per_channel(vector), f"{name}/{operator.lower()}")
            sums = graph.node(operator, [sums, constant], f"{name}/{operator.lower()}ed")
    graph.set(output, _activated(graph, op, sums, "fused_activation_function"))


def _require_exact(output: TensorInfo, largest: int) -> None:
    if largest >= _EXACT:
        raise ValueError(
            f"Expected sums below 2^24, which float32 holds exactly. Received: {output.name!r}, whose "
            f"sums reach {largest:,}. target='tflite' sums in int32."
        )


@_writes("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    kernel = graph.values(_input(op, 1))
    size, depthwise = kernel.shape[1:3], op.name == "DEPTHWISE_CONV_2D"
    window = _window(graph, op, size, _DILATED, int(op.options["padding"]))
    channels = graph.shape(x)[-1]
    groups = channels if depthwise else channels // kernel.shape[3]
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    if groups > 1:
        window["group"] = groups
    bias, integers = _optional(graph, op, 2), output.dtype == "int8"
    if integers:
        _require_thresholds(op, kernel)
    weights = graph.kernel(kernel.transpose(order), f"{output.name}/kernel", binary=False)
    inputs = [graph.first(x), weights]
    if bias is not None and not integers and bias.any():
        inputs.append(graph.constant(bias.astype(np.float32), f"{output.name}/bias"))
    sums = graph.node("Conv", inputs, f"{output.name}/sums", **window)
    if integers:
        assert bias is not None
        # The value of the 8-bit form, -1 or 0, is compared with 0 by the LceQuantize that follows.
        least = -bias.astype(np.int64)
        graph.set(output, graph.bipolar(sums, least, output.name))
        return
    if (kernel == np.round(kernel)).all():
        sums = _unscaled(graph, sums, output.name)
    graph.set(output, _activated(graph, op, sums))


def _require_thresholds(op: OperatorInfo, kernel: np.ndarray) -> None:
    """An int8 convolution is one of an image, with thresholds inside."""
    x, output = _input(op), op.outputs[0]
    ends = _ACTIVATIONS[int(op.options["fusedActivationFunction"])] == "relu_n1_to_1"
    if x.scales != (1.0,) or (output.scales, output.zero_points) != ((1.0,), (127,)) or not ends:
        raise ValueError(f"Expected float32 or thresholds. Received: {output.name!r}, rounded to int8.")
    by_filter = np.abs(kernel).reshape(len(kernel), -1).sum(axis=1)
    _require_exact(output, _LARGEST_BYTE * int(by_filter.max(initial=0)))


@_writes("TRANSPOSE_CONV")
def _transposed_convolution(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op, 2), op.outputs[0]
    kernel, bias = graph.values(_input(op, 1)), _optional(graph, op, 3)
    pads, extra = [], []
    for axis, field in enumerate(_STRIDES):
        stride, window = int(op.options[field]), kernel.shape[axis + 1]
        missing = (x.shape[axis + 1] - 1) * stride + window - output.shape[axis + 1]
        pads.append((max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2))
        extra.append(max(-missing, 0))
    inputs = [graph.first(x), graph.kernel(kernel.transpose(3, 0, 1, 2), f"{output.name}/kernel", False)]
    if bias is not None and bias.any():
        inputs.append(graph.constant(bias.astype(np.float32), f"{output.name}/bias"))
    sums = graph.node(
        "ConvTranspose",
        inputs,
        f"{output.name}/sums",
        strides=[int(op.options[field]) for field in _STRIDES],
        pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        output_padding=extra,
    )
    graph.set(output, _activated(graph, op, sums))


@_writes("FULLY_CONNECTED")
def _fully_connected(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    kernel, bias = graph.values(_input(op, 1)), _optional(graph, op, 2)
    weights = graph.kernel(np.ascontiguousarray(kernel.T), f"{output.name}/kernel", binary=False)
    sums = graph.node("MatMul", [graph.last(x), weights], f"{output.name}/sums")
    if bias is not None and bias.any():
        constant = graph.constant(bias.astype(np.float32), f"{output.name}/bias")
        sums = graph.node("Add", [sums, constant], f"{output.name}/added")
    graph.set(output, _activated(graph, op, sums), first=False)


# --- Pools and reductions


@_writes("LceBMaxPool2d", "MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(graph: Graph, op: OperatorInfo) -> None:
    binary = op.name == "LceBMaxPool2d"
    names = ("filter_height", "filter_width") if binary else ("filterHeight", "filterWidth")
    size = [int(op.options[name]) for name in names]
    fields = _BINARY_STRIDES if binary else _STRIDES
    window = _window(graph, op, tuple(size), fields, int(op.options["padding"]))
    operator = "AveragePool" if op.name == "AVERAGE_POOL_2D" else "MaxPool"
    x, output = _input(op), op.outputs[0]
    y = graph.node(operator, [graph.first(x)], output.name, kernel_shape=size, **window)
    graph.set(output, _activated(graph, op, y), channels=graph.shape(x)[-1] if binary else 0)


_REDUCTIONS = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
}


@_writes(*_REDUCTIONS)
def _reduction(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    axes = sorted(int(axis) % len(x.shape) for axis in np.ravel(graph.values(_input(op, 1))))
    keep = len(output.shape) == len(x.shape)
    first = len(x.shape) == 4 and (keep or axes in ([1, 2], [1, 2, 3], [3]))
    source = graph.first(x) if first else graph.last(x)
    axes = [_AXES[axis] for axis in axes] if first else axes
    operator = _REDUCTIONS[op.name]
    if operator == "ReduceSum":
        inputs = [source, graph.constant(np.array(axes, np.int64), "axes")]
        y = graph.node(operator, inputs, output.name, keepdims=int(keep))
    else:
        y = graph.node(operator, [source], output.name, axes=axes, keepdims=int(keep))
    graph.set(output, y, first=first)


# --- Value by value

_PAIRS = {
    "ADD": "Add",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "PRELU": "PRelu",
    "SUB": "Sub",
}
_EACH = {
    "ABS": "Abs",
    "CEIL": "Ceil",
    "ELU": "Elu",
    "EXP": "Exp",
    "FLOOR": "Floor",
    "LOG": "Log",
    "NEG": "Neg",
    "RELU": "Relu",
    "ROUND": "Round",
    "SQRT": "Sqrt",
    "TANH": "Tanh",
}


@_writes(*_PAIRS)
def _pairs(graph: Graph, op: OperatorInfo) -> None:
    output, rank = op.outputs[0], len(op.outputs[0].shape)
    names = []
    for index in (0, 1):
        tensor = _input(op, index)
        if tensor.bytes or id(tensor) in graph.constants:
            values = graph.values(tensor).astype(np.float32)
            values = values.reshape((1,) * (rank - values.ndim) + values.shape)
            values = values.transpose(0, 3, 1, 2) if rank == 4 else values
            names.append(graph.constant(values, tensor.name))
        elif len(tensor.shape) != rank:
            raise ValueError(f"Expected values of as many axes. Received: {output.name!r}, of others.")
        else:
            names.append(graph.first(tensor))
    y = graph.node(_PAIRS[op.name], names, output.name)
    graph.set(output, _activated(graph, op, y))


@_writes(*_EACH)
def _each(graph: Graph, op: OperatorInfo) -> None:
    output = op.outputs[0]
    graph.set(output, graph.node(_EACH[op.name], [graph.first(_input(op))], output.name))


@_writes("RELU6", "RSQRT", "LEAKY_RELU", "GELU", "SOFTMAX", "LOGISTIC")
def _others(graph: Graph, op: OperatorInfo) -> None:
    output, x = op.outputs[0], graph.first(_input(op))
    name = output.name
    if op.name == "RELU6":
        y = graph.node("Clip", [x, graph.number(0.0), graph.number(6.0)], name)
    elif op.name == "RSQRT":
        y = graph.node("Reciprocal", [graph.node("Sqrt", [x], f"{name}/root")], name)
    elif op.name == "LEAKY_RELU":
        y = graph.node("LeakyRelu", [x], name, alpha=float(op.options["alpha"]))
    elif op.name == "SOFTMAX":
        y = graph.node("Softmax", [x], name, axis=1 if len(output.shape) == 4 else -1)
    elif op.name == "LOGISTIC":
        y = _sigmoid(graph, x, name)
    else:
        y = _gelu(graph, x, name, bool(op.options["approximate"]))
    graph.set(output, y)


def _sigmoid(graph: Graph, x: str, name: str) -> str:
    """``1 / (1 + exp(-x))``: Sigmoid is 0 below -18 in onnxruntime, and a product with it has no sign."""
    negative = graph.node("Neg", [x], f"{name}/negative")
    power = graph.node("Exp", [negative], f"{name}/power")
    above = graph.node("Add", [power, graph.number(1.0)], f"{name}/above")
    return graph.node("Div", [graph.number(1.0), above], name)


def _gelu(graph: Graph, x: str, name: str, approximate: bool) -> str:
    """``x (1 + erf(x / sqrt 2)) / 2``, or with ``tanh(sqrt(2 / pi) (x + 0.044715 x^3))`` for erf."""
    if approximate:
        square = graph.node("Mul", [x, x], f"{name}/square")
        part = graph.node("Mul", [square, graph.number(0.044715)], f"{name}/part")
        whole = graph.node("Add", [part, graph.number(1.0)], f"{name}/whole")
        scaled = graph.node("Mul", [x, graph.number(float(np.sqrt(2 / np.pi)))], f"{name}/scaled")
        inner = graph.node("Mul", [scaled, whole], f"{name}/inner")
        found = graph.node("Tanh", [inner], f"{name}/tanh")
    else:
        scaled = graph.node("Mul", [x, graph.number(float(np.sqrt(0.5)))], f"{name}/scaled")
        found = graph.node("Erf", [scaled], f"{name}/erf")
    above = graph.node("Add", [found, graph.number(1.0)], f"{name}/above")
    half = graph.node("Mul", [x, graph.number(0.5)], f"{name}/half")
    return graph.node("Mul", [half, above], name)


# --- Values stored another way


@_writes("LceQuantize")
def _pack(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    channels = graph.shape(x)[-1]
    if x.dtype == "int8":
        # Its convolution has compared the sums.
        graph.set(output, graph.first(x), channels=channels)
        return
    graph.set(output, graph.bipolar(graph.first(x), None, output.name), channels=channels)


@_writes("LceDequantize")
def _unpack(graph: Graph, op: OperatorInfo) -> None:
    if op.outputs[0].dtype != "float32":
        raise ValueError(f"Expected float32. Received: {op.outputs[0].name!r}, int8.")
    graph.same[id(op.outputs[0])] = _input(op)


@_writes("QUANTIZE", "DEQUANTIZE")
def _same(graph: Graph, op: OperatorInfo) -> None:
    """8-bit values are the numbers they stand for: stored another way, they are what they were."""
    x, output = _input(op), op.outputs[0]
    if x.bytes:
        graph.constants[id(output)] = x
        return
    if output.dtype != "float32" and (x.dtype == "float32" or x.scales != output.scales):
        raise ValueError(f"Expected values that are not rounded. Received: {output.name!r}, in int8.")
    graph.same[id(output)] = x


# --- Values moved


@_writes("RESHAPE")
def _reshape(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    channels = 0
    if x.dtype == "int32":
        same = x.shape[-1] == output.shape[-1]
        channels = graph.shape(x)[-1] if same else 32 * output.shape[-1]
    shape = (*output.shape[:-1], channels or output.shape[-1])
    sizes = graph.constant(np.array(shape, np.int64), "shape")
    y = graph.node("Reshape", [graph.last(x), sizes], output.name)
    graph.set(output, y, first=False, channels=channels)


@_writes("CONCATENATION")
def _concatenation(graph: Graph, op: OperatorInfo) -> None:
    output = op.outputs[0]
    rank = len(output.shape)
    axis = int(op.options["axis"]) % rank
    sources = [tensor for tensor in op.inputs if tensor is not None]
    known = [graph.shape(tensor)[-1] for tensor in sources if not tensor.bytes]
    names, channels = [], 0
    for tensor in sources:
        if output.dtype == "int32" and tensor.bytes:
            values = graph.values(tensor, known[0])
            names.append(graph.constant(values.transpose(0, 3, 1, 2), tensor.name))
        else:
            names.append(graph.first(tensor))
    if output.dtype == "int32":
        channels = sum(known) if axis == rank - 1 else known[0]
    y = graph.node("Concat", names, output.name, axis=_AXES[axis] if rank == 4 else axis)
    graph.set(output, y, channels=channels)


@_writes("SLICE")
def _slice(graph: Graph, op: OperatorInfo) -> None:
    begin = np.ravel(graph.values(_input(op, 1))).astype(np.int64)
    _sliced(graph, op, begin, np.array(op.outputs[0].shape, np.int64))


@_writes("STRIDED_SLICE")
def _strided_slice(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    taken = strided(
        op.options, x.shape, *(np.ravel(graph.values(_input(op, i))).tolist() for i in (1, 2, 3))
    )
    counts = [len(indices) for indices in taken]
    if counts != list(output.shape):
        raise ValueError(
            f"Expected a STRIDED_SLICE that keeps all axes. Received: that which writes {output.name!r}, "
            f"with shrinkAxisMask={op.options['shrinkAxisMask']}."
        )
    begin, strides = ([getattr(indices, name) for indices in taken] for name in ("start", "step"))
    _sliced(graph, op, np.array(begin, np.int64), np.array(counts, np.int64), np.array(strides, np.int64))


def _sliced(graph: Graph, op: OperatorInfo, begin: Any, size: Any, strides: Any = None) -> None:
    """So many values of every axis from `begin` on, `strides` apart."""
    x, output, channels = _input(op), op.outputs[0], 0
    if output.dtype == "int32":
        # Words of channels; the last may not be full.
        whole = graph.shape(x)[-1]
        begin[-1], size[-1] = 32 * begin[-1], min(32 * size[-1], whole - 32 * begin[-1])
        channels = int(size[-1])
    axes = np.array([_AXES[axis] if len(size) == 4 else axis for axis in range(len(size))], np.int64)
    steps = np.ones_like(size) if strides is None else strides
    # A negative end would be counted from the last value; the least number there is lies before all.
    end = begin + (size - 1) * steps + np.sign(steps)
    end[end < 0] = np.iinfo(np.int64).min
    values = [begin, end, axes] if strides is None else [begin, end, axes, steps]
    constants = [graph.constant(value, "slice") for value in values]
    graph.set(output, graph.node("Slice", [graph.first(x), *constants], output.name), channels=channels)


@_writes("PAD", "PADV2")
def _pad(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    widths = graph.values(_input(op, 1)).reshape(-1, 2).astype(np.int64)
    binary = output.dtype == "int32"
    value = float(graph.values(_input(op, 2)).ravel()[0]) if op.name == "PADV2" else float(binary)
    if len(widths) == 4:
        widths = widths[[0, 3, 1, 2]]
    inputs = [graph.first(x), graph.constant(widths.T.ravel(), "pads"), graph.number(value)]
    channels = graph.shape(x)[-1] if binary else 0
    graph.set(output, graph.node("Pad", inputs, output.name), channels=channels)


@_writes("TRANSPOSE")
def _transpose(graph: Graph, op: OperatorInfo) -> None:
    order = np.ravel(graph.values(_input(op, 1))).tolist()
    output = op.outputs[0]
    y = graph.node("Transpose", [graph.last(_input(op))], output.name, perm=order)
    graph.set(output, y, first=False)


@_writes("RESIZE_NEAREST_NEIGHBOR")
def _repeat(graph: Graph, op: OperatorInfo) -> None:
    x, output = _input(op), op.outputs[0]
    scales = [output.shape[axis] / x.shape[axis] for axis in (1, 2)]
    constant = graph.constant(np.array([1, 1, *scales], np.float32), "scales")
    y = graph.node(
        "Resize",
        [graph.first(x), "", constant],
        output.name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    graph.set(output, y)
