"""Float Keras layers as stock TFLite operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.conversion import more_layers
from keras_sbn.conversion.exact_kernels import stored_kernel
from keras_sbn.conversion.keras_operations import is_operation, lower_operation, lower_pick
from keras_sbn.conversion.lowering import Lowering, LoweringError, Reason, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.conversion.transposed import lower_transposed
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDense,
    IntegerConv2D,
    KerasCall,
    Pick,
    Reshape,
    Sign,
    Threshold,
)
from keras_sbn.folding.value_ranges import is_binary

_UNFUSED = {"sigmoid": "LOGISTIC", "tanh": "TANH", "softmax": "SOFTMAX", "elu": "ELU"}


def lower_float_layer(low: Lowering, node: Node) -> None:
    """Emits the operators of a float layer or operation.

    Raises:
        LoweringError: If there is no lowering for the layer.
    """
    layer = node.op.operation if isinstance(node.op, KerasCall) else node.op
    if is_operation(layer):
        low.set_real(node, lower_operation(low, node, layer))
        return
    for kinds, lower in _LOWERINGS:
        if isinstance(layer, kinds):
            low.set_real(node, lower(low, node, layer))
            return
    raise LoweringError(
        f"Expected a layer that converts. Received: {type(layer).__name__} {node.name!r}. These do: "
        + ", ".join(sorted({kind.__name__ for kinds, _ in _LOWERINGS for kind in kinds}))
        + ". Replace it, or end the model before it and run the rest outside."
    )


def reason_to_be_float(node: Node) -> Reason:
    """Why a layer that no binary kernel computes is float, and what would make it binary."""
    op = node.op
    if isinstance(op, BinaryConv2DTranspose) and is_binary(node.input):
        return Reason("its sums are an output, or more than a sign reads them", "")
    if isinstance(op, BinaryConv2D | BinaryConv2DTranspose | BinaryDense):
        return Reason(
            "its input is real-valued",
            "a first layer has to read the image; elsewhere put a SelfBinarizingActivation before it",
        )
    if isinstance(op, Sign | Threshold):
        return Reason("takes the sign of real values", "")
    if isinstance(op, Affine):
        return Reason(
            "no sign follows it alone", "put a SelfBinarizingActivation after it, with no other reader"
        )
    if isinstance(op, Reshape):
        return Reason("moves values, computes nothing", "")
    if isinstance(op, KerasCall) and getattr(op.operation, "weights", None):
        return Reason("its kernel is real-valued", "use its counterpart in keras_sbn.layers")
    return Reason("computes with real values", "")


def _array(weight: Any) -> np.ndarray:
    return ops.convert_to_numpy(weight).astype(np.float32)


def require_channels_last(node: Node, layer: Any) -> None:
    """Raises LoweringError where a layer has its channels first."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise LoweringError(
            "Expected channels last, the only order of the inference kernels. Received: "
            f"{node.name!r} with data_format={layer.data_format!r}"
        )


def _activated(low: Lowering, node: Node, tensor: int, activation: Any) -> int:
    """Applies an activation function as an operator of its own, if it is not linear."""
    name = getattr(activation, "__name__", str(activation))
    shape = static_shape(node)
    if activation is None or name == "linear":
        return tensor
    if name in ("relu", "relu6"):
        return low.emit(node.name, name.upper(), [tensor], shape)
    if name in _UNFUSED:
        options = ("Softmax", {"beta": 1.0}) if name == "softmax" else None
        return low.emit(node.name, _UNFUSED[name], [tensor], shape, options=options)
    raise LoweringError(
        f"Expected an activation that converts: linear, relu, relu6, sigmoid, tanh, elu or softmax. "
        f"Received: {node.name!r} with activation={name!r}"
    )


def _fused(activation: Any) -> int | None:
    name = getattr(activation, "__name__", "linear")
    return {"linear": 0, "relu": 1, "relu6": 3}.get(name)


def _convolution(
    low: Lowering,
    node: Node,
    layer: Any,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    pad_value: float,
    operator: str = "CONV_2D",
    depth_multiplier: int = 1,
) -> int:
    """A float convolution; borders that are not padded with zeros are padded beforehand."""
    require_channels_last(node, layer)
    source = low.real(node.input)
    padding = layer.padding
    in_shape, out_shape = static_shape(node.input), static_shape(node)
    if padding == "causal" or (padding == "same" and pad_value != 0):
        window = kernel.shape[1:3]
        source, padding = _padded(low, node, source, in_shape, layer, window, pad_value), "valid"
    filters = out_shape[-1]
    activation = getattr(layer, "activation", None)
    fused = _fused(activation)
    fields = {
        "padding": PADDING[padding],
        "strideH": layer.strides[0],
        "strideW": layer.strides[1],
        "dilationHFactor": layer.dilation_rate[0],
        "dilationWFactor": layer.dilation_rate[1],
        "fusedActivationFunction": fused or ACTIVATION["none"],
    }
    table = "Conv2D"
    if operator == "DEPTHWISE_CONV_2D":
        table = "DepthwiseConv2D"
        fields["depthMultiplier"] = depth_multiplier
    inputs = [
        source,
        stored_kernel(low, node, kernel),
        low.constant(node.name, "bias", np.zeros(filters, np.float32) if bias is None else bias),
    ]
    suffix = "" if fused is not None else "linear"
    groups = in_shape[-1] // kernel.shape[-1] if operator == "CONV_2D" else 1
    version = 6 if groups > 1 else 1
    tensor = low.emit(
        node.name, operator, inputs, out_shape, suffix=suffix, options=(table, fields), version=version
    )
    return tensor if fused is not None else _activated(low, node, tensor, activation)


def same_padding(size: int, window: int, stride: int, dilation: int) -> tuple[int, int]:
    """How many values "same" puts before and after `size` of them, as TensorFlow has it."""
    covered = dilation * (window - 1) + 1
    missing = max((-(-size // stride) - 1) * stride + covered - size, 0)
    return missing // 2, missing - missing // 2


def _padded(
    low: Lowering,
    node: Node,
    source: int,
    shape: tuple[int, ...],
    layer: Any,
    window: tuple[int, ...],
    value: float,
) -> int:
    borders = [
        same_padding(*sizes)
        for sizes in zip(shape[1:3], window, layer.strides, layer.dilation_rate, strict=True)
    ]
    if layer.padding == "causal":
        borders = [(0, 0), (layer.dilation_rate[1] * (window[1] - 1), 0)]
    widths = np.array([(0, 0), *borders, (0, 0)], np.int32)
    grown = [size + sum(border) for size, border in zip(shape, widths.tolist(), strict=True)]
    inputs = [
        source,
        low.constant(node.name, "pad_widths", widths),
        low.constant(node.name, "pad_value", np.array(value, np.float32)),
    ]
    return low.emit(node.name, "PADV2", inputs, grown, suffix="padded", options=("PadV2", {}))


def _binary_conv(low: Lowering, node: Node, layer: Any) -> int:
    """A ±1 kernel on a real input: exact where the input's values are, but no binary kernel."""
    kernel = layer.kernel.astype(np.float32).transpose(3, 0, 1, 2)
    values = set(layer.pad_values.tolist())
    if layer.padding != "valid" and len(values) > 1:
        raise LoweringError(
            "Expected one border value for all channels. Received: "
            f"{node.name!r} padded with {sorted(values)}. Scale the channels of the image alike."
        )
    return _convolution(low, node, layer, kernel, None, float(values.pop()))


def _conv(low: Lowering, node: Node, layer: Any) -> int:
    kernel = _array(layer.kernel).transpose(3, 0, 1, 2)
    bias = _array(layer.bias) if layer.use_bias else None
    return _convolution(low, node, layer, kernel, bias, 0.0)


def _depthwise_conv(low: Lowering, node: Node, layer: Any) -> int:
    kernel = _array(layer.kernel)
    height, width, channels, multiplier = kernel.shape
    kernel = kernel.reshape(1, height, width, channels * multiplier)
    bias = _array(layer.bias) if layer.use_bias else None
    return _convolution(low, node, layer, kernel, bias, 0.0, "DEPTHWISE_CONV_2D", multiplier)


def _fully_connected(
    low: Lowering, node: Node, kernel: np.ndarray, bias: np.ndarray | None, activation: Any
) -> int:
    fused = _fused(activation)
    inputs = [
        low.real(node.input),
        stored_kernel(low, node, kernel.T),
        -1 if bias is None or not bias.any() else low.constant(node.name, "bias", bias),
    ]
    fields = {
        "fusedActivationFunction": fused or ACTIVATION["none"],
        "keepNumDims": len(node.shape) > 2,
    }
    tensor = low.emit(
        node.name,
        "FULLY_CONNECTED",
        inputs,
        static_shape(node),
        suffix="" if fused is not None else "linear",
        options=("FullyConnected", fields),
        version=5 if len(node.shape) > 2 else 1,
    )
    return tensor if fused is not None else _activated(low, node, tensor, activation)


def _dense(low: Lowering, node: Node, layer: Any) -> int:
    bias = _array(layer.bias) if layer.use_bias else None
    return _fully_connected(low, node, _array(layer.kernel), bias, layer.activation)


def _binary_dense(low: Lowering, node: Node, layer: Any) -> int:
    return _fully_connected(low, node, layer.kernel.astype(np.float32), None, None)


def _affine(low: Lowering, node: Node, layer: Any) -> int:
    # Two operators and not the multiplier and bias of the convolution before it: the runtimes fuse those
    # with other constants and round differently, while a product and a sum round as Keras rounds them.
    shape = static_shape(node)
    product = low.arithmetic(node.name, "MUL", low.real(node.input), layer.scale, shape, suffix="product")
    offset = layer.offset - layer.scale * layer.center
    return low.arithmetic(node.name, "ADD", product, offset, shape)


def _rescaling(low: Lowering, node: Node, layer: Any) -> int:
    shape = static_shape(node)
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    product = low.arithmetic(node.name, "MUL", low.real(node.input), scale, shape, suffix="product")
    return low.arithmetic(node.name, "ADD", product, offset, shape)


def _pool(low: Lowering, node: Node, layer: Any) -> int:
    require_channels_last(node, layer)
    maximum = isinstance(layer, keras.layers.MaxPooling2D)
    fields = {
        "padding": PADDING[layer.padding],
        "strideH": layer.strides[0],
        "strideW": layer.strides[1],
        "filterHeight": layer.pool_size[0],
        "filterWidth": layer.pool_size[1],
    }
    operator = "MAX_POOL_2D" if maximum else "AVERAGE_POOL_2D"
    inputs = [low.real(node.input)]
    return low.emit(node.name, operator, inputs, static_shape(node), options=("Pool2D", fields))


def _global_pool(low: Lowering, node: Node, layer: Any) -> int:
    require_channels_last(node, layer)
    maximum = isinstance(layer, keras.layers.GlobalMaxPooling2D)
    axes = low.constant(node.name, "axes", np.array([1, 2], np.int32))
    return low.emit(
        node.name,
        "REDUCE_MAX" if maximum else "MEAN",
        [low.real(node.input), axes],
        static_shape(node),
        options=("Reducer", {"keepDims": layer.keepdims}),
    )


def _merge(low: Lowering, node: Node, layer: Any) -> int:
    operators = {"Add": "ADD", "Subtract": "SUB", "Multiply": "MUL"}
    kind = type(layer).__name__
    operator = operators.get(kind, kind.upper())
    table = operator.capitalize() if kind in operators else "MaximumMinimum"
    total = low.real(node.inputs[0])
    for index, source in enumerate(node.inputs[1:]):
        inputs = [total, low.real(source)]
        last = index == len(node.inputs) - 2
        suffix = "" if last else f"partial_{index}"
        shape = static_shape(node)
        total = low.emit(node.name, operator, inputs, shape, suffix=suffix, options=(table, {}))
    return total


def _concatenate(low: Lowering, node: Node, layer: Any) -> int:
    axis = layer.axis % len(node.shape)
    return low.emit(
        node.name,
        "CONCATENATION",
        [low.real(source) for source in node.inputs],
        static_shape(node),
        options=("Concatenation", {"axis": axis}),
    )


def _zero_padding(low: Lowering, node: Node, layer: Any) -> int:
    require_channels_last(node, layer)
    widths = np.array([(0, 0), *layer.padding, (0, 0)], np.int32)
    inputs = [low.real(node.input), low.constant(node.name, "pad_widths", widths)]
    return low.emit(node.name, "PAD", inputs, static_shape(node), options=("Pad", {}))


def _reshape(low: Lowering, node: Node, layer: Any) -> int:
    return reshape(low, node, low.real(node.input), static_shape(node), "float32")


def reshape(
    low: Lowering,
    node: Node,
    source: int,
    shape: tuple[int, ...],
    dtype: str,
    quantization: tuple[float, int] | None = None,
) -> int:
    """Emits a reshape to `shape` and returns its tensor."""
    target = low.constant(node.name, "shape", np.array(shape, np.int32))
    options = ("Reshape", {"newShape": list(shape)})
    return low.emit(
        node.name,
        "RESHAPE",
        [source, target],
        shape,
        dtype=dtype,
        options=options,
        quantization=quantization,
    )


def _activation(low: Lowering, node: Node, layer: Any) -> int:
    return _activated(low, node, low.real(node.input), layer.activation)


def _relu(low: Lowering, node: Node, layer: Any) -> int:
    plain = not layer.negative_slope and not layer.threshold
    if not plain or layer.max_value not in (None, 6, 6.0):
        raise LoweringError(
            f"Expected a ReLU or ReLU6. Received: {node.name!r} with max_value={layer.max_value}, "
            f"negative_slope={layer.negative_slope}, threshold={layer.threshold}"
        )
    operator = "RELU" if layer.max_value is None else "RELU6"
    return low.emit(node.name, operator, [low.real(node.input)], static_shape(node))


def _softmax(low: Lowering, node: Node, layer: Any) -> int:
    if layer.axis not in (-1, len(node.shape) - 1):
        raise LoweringError(
            f"Expected a softmax over the last axis. Received: {node.name!r} with axis={layer.axis}"
        )
    options = ("Softmax", {"beta": 1.0})
    inputs = [low.real(node.input)]
    return low.emit(node.name, "SOFTMAX", inputs, static_shape(node), options=options)


_Lower = Callable[[Lowering, Node, Any], int]
_KERAS = keras.layers
# Subclasses stand before their base classes.
_LOWERINGS: tuple[tuple[tuple[Any, ...], _Lower], ...] = (
    ((BinaryConv2D, IntegerConv2D), _binary_conv),
    ((BinaryDense,), _binary_dense),
    ((Affine,), _affine),
    ((BinaryConv2DTranspose, _KERAS.Conv2DTranspose), lower_transposed),
    ((_KERAS.DepthwiseConv2D,), _depthwise_conv),
    ((_KERAS.Conv2D,), _conv),
    ((_KERAS.Dense,), _dense),
    ((_KERAS.Rescaling,), _rescaling),
    ((_KERAS.MaxPooling2D, _KERAS.AveragePooling2D), _pool),
    ((_KERAS.GlobalMaxPooling2D, _KERAS.GlobalAveragePooling2D), _global_pool),
    ((_KERAS.Add, _KERAS.Subtract, _KERAS.Multiply, _KERAS.Maximum, _KERAS.Minimum), _merge),
    ((_KERAS.Concatenate,), _concatenate),
    ((_KERAS.ZeroPadding2D,), _zero_padding),
    ((Reshape, _KERAS.Reshape, _KERAS.Flatten), _reshape),
    ((_KERAS.Activation,), _activation),
    ((_KERAS.ReLU,), _relu),
    ((_KERAS.Softmax,), _softmax),
    ((_KERAS.PReLU,), more_layers.prelu),
    ((_KERAS.LeakyReLU,), more_layers.leaky_relu),
    ((_KERAS.ELU,), more_layers.elu),
    ((_KERAS.Permute,), more_layers.permute),
    ((_KERAS.Cropping2D,), more_layers.cropping),
    ((_KERAS.UpSampling2D,), more_layers.up_sampling),
    ((Pick,), lower_pick),
)
