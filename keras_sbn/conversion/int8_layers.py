"""The layers that are not binary, as stock int8 operators.

Every linear layer is an int8 CONV_2D or DEPTHWISE_CONV_2D, whose weights have a scale an output channel.
FULLY_CONNECTED learnt that late, so a dense layer is a 1 x 1 convolution. What follows a linear layer and
only scales its channels, or is a ReLU, is part of the same operator: a factor and an offset go into
kernel and bias, and a ReLU is where the int8 range ends.

Where a sign or threshold is all that reads a linear layer, nothing is rounded after the products: the
int32 sum a of int8 products, in units ``u = input scale * kernel scale`` of its channel, is compared,

    direction * (u a + bias) >= t   <=>   a' >= T = ceil((t - direction * bias) / u)

with a' the sum of the kernel ``direction * kernel``, and ``clamp(a' - T, -1, 0)`` is the binary value as
the portable target stores it. For the operator the input scale cancels: the kernel's scale is written as
one over it, so that the sum is multiplied by 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion.borders import uniform_border
from keras_sbn.conversion.float_layers import require_channels_last, reshape, same_padding
from keras_sbn.conversion.integer_layer import BINARY
from keras_sbn.conversion.lowering import LoweringError, Options, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.conversion.quantization import (
    HIGHEST,
    HYPERBOLIC,
    PROBABILITY,
    Scale,
    int32,
    quantized_kernel,
)
from keras_sbn.conversion.transposed import emit_transposed, stored, transposed_kernel
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
    Reshape,
    Threshold,
)
from keras_sbn.folding.thresholds import trimmed

if TYPE_CHECKING:
    from keras_sbn.conversion.binary_lowering import BinaryLowering

_KERAS = keras.layers
#: The operator version that has one scale an output channel; grouped convolutions came later.
_PER_CHANNEL, _GROUPED = 3, 6


@dataclass(frozen=True)
class Int8:
    """An int8 tensor that holds a node's value, and how."""

    tensor: int
    scale: Scale


@dataclass(frozen=True)
class Linear:
    """``kernel * x + bias`` in float64, the kernel `(height, width, depth, filters)`.

    `depthwise` says that filter i reads channel ``i // multiplier`` alone; the depth is 1 then. The
    operator runs on maps of the shape `source` and gives `target`, which may be reshaped layers.
    """

    kernel: np.ndarray
    bias: np.ndarray
    source: tuple[int, ...]
    target: tuple[int, ...]
    depthwise: bool = False
    strides: tuple[int, ...] = (1, 1)
    dilation_rate: tuple[int, ...] = (1, 1)
    padding: str = "valid"
    pad_value: float = 0.0

    def scaled(self, factor: np.ndarray, offset: np.ndarray) -> Linear:
        """``factor * self + offset``, one of each a filter."""
        bias = self.bias * factor + offset
        return replace(self, kernel=self.kernel * factor, bias=bias)


def linear_of(node: Node) -> Linear | None:
    """A node as a linear layer of int8 operators, or `None` where it is none."""
    op = node.op
    layer = op.operation if isinstance(op, KerasCall) else None
    shape = static_shape(node)
    if isinstance(layer, _KERAS.DepthwiseConv2D | _KERAS.Conv2D):
        return _convolution(node, layer, shape)
    if isinstance(op, BinaryConv2D | IntegerConv2D):
        border = uniform_border(op)
        if op.padding != "valid" and border is None:
            raise LoweringError(
                "Expected one border value for all channels. Received: "
                f"{node.name!r} padded with {sorted(set(op.pad_values.tolist()))}. Scale the channels of "
                "the image alike."
            )
        kernel = op.kernel.astype(np.float64)
        return Linear(
            kernel,
            np.zeros(kernel.shape[-1]),
            static_shape(node.input),
            shape,
            strides=op.strides,
            dilation_rate=op.dilation_rate,
            padding=op.padding,
            pad_value=border or 0.0,
        )
    if isinstance(layer, _KERAS.Dense) and layer.activation is keras.activations.linear:
        bias = _array(layer.bias) if layer.use_bias else np.zeros(layer.units)
        return _dense(_array(layer.kernel), bias, shape)
    if isinstance(op, BinaryDense):
        return _dense(op.kernel.astype(np.float64), np.zeros(op.kernel.shape[-1]), shape)
    parameters = per_channel(op, shape[-1]) if isinstance(op, Affine) else None
    return None if parameters is None else identity(shape).scaled(*parameters)


def _convolution(node: Node, layer: Any, shape: tuple[int, ...]) -> Linear | None:
    if layer.activation is not keras.activations.linear:
        return None
    require_channels_last(node, layer)
    kernel = _array(layer.kernel)
    depthwise = isinstance(layer, _KERAS.DepthwiseConv2D)
    if depthwise:
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    return Linear(
        kernel,
        _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1]),
        static_shape(node.input),
        shape,
        depthwise=depthwise,
        strides=layer.strides,
        dilation_rate=layer.dilation_rate,
        padding=layer.padding,
    )


def _dense(kernel: np.ndarray, bias: np.ndarray, shape: tuple[int, ...]) -> Linear:
    positions = int(np.prod(shape[:-1]))
    source = (1, 1, positions, kernel.shape[0])
    return Linear(kernel[None, None], bias, source, (1, 1, positions, shape[-1]))


def identity(shape: tuple[int, ...]) -> Linear:
    """A value itself, as a linear layer over its channels."""
    channels = shape[-1]
    as_map = shape if len(shape) == 4 else (1, 1, int(np.prod(shape[:-1])), channels)
    return Linear(np.ones((1, 1, 1, channels)), np.zeros(channels), as_map, as_map, depthwise=True)


def per_channel(op: Affine | Threshold, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and offset of an affine map, or threshold and direction, one a channel, if there is one a
    channel.
    """
    if isinstance(op, Affine):
        pair = (op.scale, op.offset - op.scale * op.center)
    else:
        pair = (op.threshold, op.direction)
    first, second = (trimmed(np.asarray(value, np.float64)) for value in pair)
    if max(first.ndim, second.ndim) > 1:
        return None
    return np.broadcast_to(first, (channels,)), np.broadcast_to(second, (channels,))


def _array(weight: Any) -> np.ndarray:
    return ops.convert_to_numpy(weight).astype(np.float64)


def relu_of(node: Node) -> str | None:
    """The fused activation that a node is, or `None` if it is none."""
    layer = node.op.operation if isinstance(node.op, KerasCall) else None
    if isinstance(layer, _KERAS.ReLU):
        plain = not layer.negative_slope and not layer.threshold
        return {None: "relu", 6: "relu6"}.get(layer.max_value) if plain else None
    if isinstance(layer, _KERAS.Activation):
        name = getattr(layer.activation, "__name__", "")
        return name if name in ("relu", "relu6") else None
    return None


def lower_to_int8(low: BinaryLowering, node: Node) -> Node | None:
    """Emits the int8 operators of a node, and of the nodes after it that its operator can do as well.

    Returns:
        The last node that was emitted, or `None` where int8 has nothing for the node.
    """
    linear = linear_of(node)
    if linear is not None:
        return _lower_linear(low, node, linear)
    transposed = transposed_kernel(node)
    if transposed is not None:
        return _lower_transposed(low, node, *transposed)
    layer = node.op.operation if isinstance(node.op, KerasCall) else None
    if isinstance(node.op, Reshape):
        source = low.int8(node.input)
        tensor = reshape(low, node, source.tensor, static_shape(node), "int8", source.scale)
        low.set_int8(node, Int8(tensor, source.scale))
        return node
    for kinds, lower in _LOWERINGS:
        if isinstance(layer, kinds):
            return lower(low, node, layer)
    return None


def following_relu(low: BinaryLowering, node: Node) -> tuple[Node, str]:
    """The ReLU that is all that reads a node, and its name; or the node itself."""
    if low.graph.has_one_use(node):
        (reader,) = low.graph.consumers(node)
        name = relu_of(reader)
        if name is not None:
            return reader, name
    return node, "none"


def following_affine(low: BinaryLowering, node: Node) -> tuple[Node, np.ndarray, np.ndarray]:
    """The affine map a channel that is all that reads a node, and its factors and offsets."""
    channels = static_shape(node)[-1]
    if low.graph.has_one_use(node):
        (reader,) = low.graph.consumers(node)
        found = per_channel(reader.op, channels) if isinstance(reader.op, Affine) else None
        if found is not None:
            return reader, *found
    return node, np.ones(channels), np.zeros(channels)


def _lower_linear(low: BinaryLowering, node: Node, linear: Linear) -> Node:
    last, factor, offset = following_affine(low, node)
    last, activation = following_relu(low, last)
    source = low.int8(node.input)
    low.set_int8(last, emit_linear(low, node, linear.scaled(factor, offset), source, last, activation))
    return last


def _lower_transposed(
    low: BinaryLowering, node: Node, kernel: np.ndarray, bias: np.ndarray, geometry: Any
) -> Node:
    last, factor, offset = following_affine(low, node)
    # Beyond its range int8 ends, and a ReLU with it.
    last, _ = following_relu(low, last)
    source, scale = low.int8(node.input), low.scale(last)
    weights, scales, constant = quantized_kernel(
        kernel * factor, bias * factor + offset, source.scale.scale
    )
    inputs = (
        low.constant(node.name, "kernel", stored(weights), scales.tolist()),
        low.constant(node.name, "bias", constant, (np.float32(source.scale.scale) * scales).tolist()),
    )
    tensor = emit_transposed(low, node, geometry, source.tensor, *inputs, last.name, scale=scale)
    low.set_int8(last, Int8(tensor, scale))
    return last


def emit_linear(
    low: BinaryLowering,
    node: Node,
    linear: Linear,
    source: Int8,
    last: Node,
    activation: str,
    largest: int = HIGHEST,
) -> Int8:
    """Emits a linear layer whose sums are rounded to int8, as the value of `last`."""
    scale = low.scale(last)
    kernel, scales, bias = quantized_kernel(linear.kernel, linear.bias, source.scale.scale, largest)
    tensor = emit_kernel(low, node, linear, source, kernel, scales, bias, last.name, scale, activation)
    return Int8(_shaped(low, node, tensor, linear.target, static_shape(last), last.name, scale), scale)


def emit_decision(low: BinaryLowering, node: Node, linear: Linear, reader: Node, suffix: str) -> int:
    """Emits a linear layer with the sign or threshold that reads it, and returns the int8 tensor."""
    source = low.int8(node.input)
    channels = linear.kernel.shape[-1]
    threshold, direction = np.zeros(channels), np.ones(channels)
    if isinstance(reader.op, Threshold):
        found = per_channel(reader.op, channels)
        assert found is not None
        threshold, direction = found
    directed = linear.scaled(direction, np.zeros(channels))
    largest = 1 if (np.abs(linear.kernel) == 1).all() else HIGHEST
    kernel, scales, _ = quantized_kernel(directed.kernel, np.zeros(channels), source.scale.scale, largest)
    units = source.scale.scale * scales.astype(np.float64)
    with np.errstate(over="ignore"):
        least = np.ceil((threshold - directed.bias) / units)
    ones = np.full(channels, np.float32(1 / source.scale.scale))
    tensor = emit_kernel(
        low,
        node,
        linear,
        source,
        kernel,
        ones,
        int32(-least),
        reader.name,
        Scale(*BINARY),
        "relu_n1_to_1",
        suffix,
    )
    shape = static_shape(reader)
    return _shaped(low, node, tensor, linear.target, shape, reader.name, Scale(*BINARY), suffix)


def emit_kernel(
    low: BinaryLowering,
    node: Node,
    linear: Linear,
    source: Int8,
    kernel: np.ndarray,
    scales: np.ndarray,
    bias: np.ndarray,
    name: str,
    scale: Scale,
    activation: str,
    suffix: str = "",
) -> int:
    """Emits CONV_2D or DEPTHWISE_CONV_2D of int8 weights `(height, width, depth, filters)`."""
    tensor, stored = source.tensor, low.writer.shape(source.tensor)
    tensor = _shaped(low, node, tensor, stored, linear.source, node.name, source.scale, "map")
    padding = linear.padding
    if padding == "causal" or (padding == "same" and linear.pad_value != 0):
        tensor, padding = _padded(low, node, linear, tensor, source.scale), "valid"
    fields: dict[str, Any] = {
        "padding": PADDING[padding],
        "strideH": linear.strides[0],
        "strideW": linear.strides[1],
        "dilationHFactor": linear.dilation_rate[0],
        "dilationWFactor": linear.dilation_rate[1],
        "fusedActivationFunction": ACTIVATION[activation],
    }
    operator, options, axis = "CONV_2D", ("Conv2D", fields), 0
    groups = linear.source[-1] // kernel.shape[2]
    if linear.depthwise or (groups > 1 and kernel.shape[2] == 1):
        fields["depthMultiplier"] = kernel.shape[-1] // linear.source[-1]
        operator, options, axis = "DEPTHWISE_CONV_2D", ("DepthwiseConv2D", fields), 3
        kernel = kernel.transpose(2, 0, 1, 3)
    else:
        kernel = kernel.transpose(3, 0, 1, 2)
    as_layer = linear.target == static_shape(node)
    bias_scales = np.float32(source.scale.scale) * scales
    return low.emit(
        node.name,
        operator,
        [
            tensor,
            low.constant(node.name, "kernel", np.ascontiguousarray(kernel), scales.tolist(), axis=axis),
            low.constant(node.name, "bias", bias, bias_scales.tolist()),
        ],
        linear.target,
        name=name,
        suffix=suffix if as_layer else "_".join(part for part in (suffix, "map") if part),
        dtype="int8",
        options=options,
        version=_GROUPED if operator == "CONV_2D" and groups > 1 else _PER_CHANNEL,
        quantization=scale,
    )


def _shaped(
    low: BinaryLowering,
    node: Node,
    tensor: int,
    shape: tuple[int, ...],
    wanted: tuple[int, ...],
    name: str,
    scale: Scale,
    suffix: str = "",
) -> int:
    """Emits a reshape where an operator sees a layer's values as a map of another shape."""
    if shape == wanted:
        return tensor
    target = low.constant(node.name, "shape", np.array(wanted, np.int32))
    return low.emit(
        node.name,
        "RESHAPE",
        [tensor, target],
        wanted,
        name=name,
        suffix=suffix,
        dtype="int8",
        options=("Reshape", {"newShape": list(wanted)}),
        quantization=scale,
    )


def _padded(low: BinaryLowering, node: Node, linear: Linear, source: int, scale: Scale) -> int:
    """Emits a border of the layer's own value; the operators pad with 0."""
    height, width = linear.source[1:3]
    geometry = zip(
        (height, width), linear.kernel.shape, linear.strides, linear.dilation_rate, strict=False
    )
    borders = [same_padding(*sizes) for sizes in geometry]
    if linear.padding == "causal":
        borders = [(0, 0), (linear.dilation_rate[1] * (linear.kernel.shape[1] - 1), 0)]
    widths = np.array([(0, 0), *borders, (0, 0)], np.int32)
    grown = [size + sum(border) for size, border in zip(linear.source, widths.tolist(), strict=True)]
    value = scale.stored(np.array(linear.pad_value))
    inputs = [
        source,
        low.constant(node.name, "pad_widths", widths),
        low.constant(node.name, "pad_value", value, *scale),
    ]
    return low.emit(
        node.name,
        "PADV2",
        inputs,
        grown,
        suffix="padded",
        dtype="int8",
        options=("PadV2", {}),
        version=2,
        quantization=scale,
    )


def requantized(low: BinaryLowering, node: Node, source: Int8, scale: Scale, reader: Node) -> int:
    """The tensor of a node in another scale."""
    if source.scale == scale:
        return source.tensor
    return low.emit(
        reader.name,
        "QUANTIZE",
        [source.tensor],
        static_shape(node),
        name=node.name,
        suffix=f"for_{reader.name}",
        dtype="int8",
        options=("Quantize", {}),
        version=2,
        quantization=scale,
    )


def _emit(
    low: BinaryLowering,
    node: Node,
    operator: str,
    inputs: list[int],
    scale: Scale,
    options: Options | None,
    version: int,
    last: Node | None = None,
) -> Node:
    last = last or node
    tensor = low.emit(
        node.name,
        operator,
        inputs,
        static_shape(last),
        name=last.name,
        dtype="int8",
        options=options,
        version=version,
        quantization=scale,
    )
    low.set_int8(last, Int8(tensor, scale))
    return last


def _pool(low: BinaryLowering, node: Node, layer: Any) -> Node:
    require_channels_last(node, layer)
    maximum = isinstance(layer, _KERAS.MaxPooling2D)
    source = low.int8(node.input)
    tensor, scale = source.tensor, source.scale
    if not maximum:
        # An average of integers is no integer: it takes a fine scale that holds what it averages.
        finest = low.finest_scale(node.input)
        scale = finest if source.scale.scale > 2 * finest.scale else source.scale
        tensor = requantized(low, node.input, source, scale, node)
    fields = {
        "padding": PADDING[layer.padding],
        "strideH": layer.strides[0],
        "strideW": layer.strides[1],
        "filterHeight": layer.pool_size[0],
        "filterWidth": layer.pool_size[1],
    }
    operator = "MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D"
    return _emit(low, node, operator, [tensor], scale, ("Pool2D", fields), 2)


def _global_pool(low: BinaryLowering, node: Node, layer: Any) -> Node:
    require_channels_last(node, layer)
    maximum = isinstance(layer, _KERAS.GlobalMaxPooling2D)
    source = low.int8(node.input)
    scale = source.scale if maximum else low.scale(node)
    inputs = [source.tensor, low.constant(node.name, "axes", np.array([1, 2], np.int32))]
    options = ("Reducer", {"keepDims": layer.keepdims})
    return _emit(low, node, "REDUCE_MAX" if maximum else "MEAN", inputs, scale, options, 2)


def _merge(low: BinaryLowering, node: Node, layer: Any) -> Node:
    operator = {_KERAS.Add: "ADD", _KERAS.Subtract: "SUB", _KERAS.Multiply: "MUL"}[type(layer)]
    last, activation = following_relu(low, node)
    inputs = [low.int8(source).tensor for source in node.inputs]
    fields = {"fusedActivationFunction": ACTIVATION[activation]} if activation != "none" else {}
    options = (operator.capitalize(), fields)
    return _emit(low, node, operator, inputs, low.scale(last), options, 2, last)


def _maximum(low: BinaryLowering, node: Node, layer: Any) -> Node:
    scale = low.scale(node)
    inputs = [requantized(low, source, low.int8(source), scale, node) for source in node.inputs]
    return _emit(low, node, "MAXIMUM", inputs, scale, ("MaximumMinimum", {}), 2)


def _concatenate(low: BinaryLowering, node: Node, layer: Any) -> Node:
    sources = [low.int8(source) for source in node.inputs]
    # The kernels copy, so all inputs have the output's scale.
    scale = sources[0].scale if len({source.scale for source in sources}) == 1 else low.scale(node)
    pairs = zip(node.inputs, sources, strict=True)
    inputs = [requantized(low, origin, source, scale, node) for origin, source in pairs]
    options = ("Concatenation", {"axis": layer.axis % len(node.shape)})
    return _emit(low, node, "CONCATENATION", inputs, scale, options, 2)


def _zero_padding(low: BinaryLowering, node: Node, layer: Any) -> Node:
    require_channels_last(node, layer)
    source = low.int8(node.input)
    widths = np.array([(0, 0), *layer.padding, (0, 0)], np.int32)
    inputs = [source.tensor, low.constant(node.name, "pad_widths", widths)]
    return _emit(low, node, "PAD", inputs, source.scale, ("Pad", {}), 2)


def _relu(low: BinaryLowering, node: Node, layer: Any) -> Node | None:
    name = relu_of(node)
    if name is None:
        return _activation(low, node, layer) if isinstance(layer, _KERAS.Activation) else None
    return _emit(low, node, name.upper(), [low.int8(node.input).tensor], low.scale(node), None, 2)


def _activation(low: BinaryLowering, node: Node, layer: Any) -> Node | None:
    name = getattr(layer.activation, "__name__", "")
    if name == "linear":
        low.set_int8(node, low.int8(node.input))
        return node
    if name == "softmax":
        return _softmax(low, node, layer)
    fixed = {"sigmoid": ("LOGISTIC", PROBABILITY), "tanh": ("TANH", HYPERBOLIC)}
    if name not in fixed:
        return None
    operator, scale = fixed[name]
    return _emit(low, node, operator, [low.int8(node.input).tensor], scale, None, 2)


def _softmax(low: BinaryLowering, node: Node, layer: Any) -> Node | None:
    if getattr(layer, "axis", -1) not in (-1, len(node.shape) - 1):
        return None
    inputs = [low.int8(node.input).tensor]
    return _emit(low, node, "SOFTMAX", inputs, PROBABILITY, ("Softmax", {"beta": 1.0}), 2)


_LOWERINGS: tuple[tuple[tuple[Any, ...], Any], ...] = (
    ((_KERAS.MaxPooling2D, _KERAS.AveragePooling2D), _pool),
    ((_KERAS.GlobalMaxPooling2D, _KERAS.GlobalAveragePooling2D), _global_pool),
    ((_KERAS.Add, _KERAS.Subtract, _KERAS.Multiply), _merge),
    ((_KERAS.Maximum,), _maximum),
    ((_KERAS.Concatenate,), _concatenate),
    ((_KERAS.ZeroPadding2D,), _zero_padding),
    ((_KERAS.ReLU, _KERAS.Activation), _relu),
    ((_KERAS.Softmax,), _softmax),
)
