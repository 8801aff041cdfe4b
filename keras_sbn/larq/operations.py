"""Operations of TensorFlow as layers and operations of Keras 3.

A Lambda layer, an operator between Keras tensors and a layer of one's own arrive here as the operations
they consist of (`keras_sbn.larq.tracing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.layers import Affine
from keras_sbn.larq.description import Layer

_Shapes = list[tuple[int | None, ...]]
_Apply = Callable[[Layer, list[Any], _Shapes], Any]


def apply_operation(layer: Layer, inputs: list[Any], shapes: _Shapes) -> list[Any]:
    """Applies an operation to the tensors it reads.

    Args:
        layer: A layer of kind `"op:..."`.
        inputs: Its inputs that are no constants, in order.
        shapes: Shapes of its outputs.

    Returns:
        Its outputs.

    Raises:
        ValueError: If there is no counterpart in Keras, or none for these arguments.
    """
    kind = layer.kind.removeprefix("op:")
    if kind not in _OPERATIONS:
        raise _refusal(layer, f"the operation {kind}")
    found = _OPERATIONS[kind](layer, inputs, shapes)
    return list(found) if isinstance(found, list | tuple) else [found]


def _refusal(layer: Layer, what: str) -> ValueError:
    return ValueError(
        f"Expected operations that have a counterpart: {', '.join(sorted(_OPERATIONS))}. Received: layer "
        f"{layer.name!r} with {what}. Write it with layers of tf.keras."
    )


def _affine(layer: Layer, x: Any, scale: Any, offset: Any) -> Any:
    parameters = []
    for value in (scale, offset):
        parameter = np.asarray(value, np.float32)
        while parameter.ndim > len(x.shape) - 1 and parameter.shape[0] == 1:
            parameter = parameter[0]
        parameters.append(parameter)
    axes = max(1, *(value.ndim for value in parameters))
    sizes = tuple(x.shape[len(x.shape) - axes :])
    if axes > len(x.shape) - 1 or np.broadcast_shapes(sizes, *(p.shape for p in parameters)) != sizes:
        shapes = [value.shape for value in parameters]
        raise _refusal(layer, f"constants of shape {shapes} for values of shape {tuple(x.shape)}")
    affine = Affine(axes=axes, name=layer.name)
    result = affine(x)
    affine.set_weights([np.broadcast_to(value, sizes) for value in parameters])
    return result


def _constant(layer: Layer) -> np.ndarray:
    (value,) = layer.constants.values()
    return value


def _add(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    if len(inputs) == 2:
        return keras.layers.Add(name=layer.name)(inputs)
    return _affine(layer, inputs[0], 1.0, _constant(layer))


def _subtract(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    if len(inputs) == 2:
        return keras.layers.Subtract(name=layer.name)(inputs)
    if 0 in layer.constants:
        return _affine(layer, inputs[0], -1.0, _constant(layer))
    return _affine(layer, inputs[0], 1.0, -_constant(layer))


def _multiply(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    if len(inputs) == 2:
        return keras.layers.Multiply(name=layer.name)(inputs)
    return _affine(layer, inputs[0], _constant(layer), 0.0)


def _divide(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    if 1 not in layer.constants:
        raise _refusal(layer, "a division by a value that is no constant")
    return _affine(layer, inputs[0], 1 / _constant(layer).astype(np.float64), 0.0)


def _extreme(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    kind = layer.kind.removeprefix("op:")
    if len(inputs) == 2:
        return getattr(keras.layers, kind)(name=layer.name)(inputs)
    bound = _constant(layer)
    if bound.size != 1:
        raise _refusal(layer, f"{kind} with a constant of shape {bound.shape}")
    return getattr(ops, kind.lower())(inputs[0], float(bound.reshape(())))


def _clip(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    if set(layer.constants) != {1, 2} or any(c.size != 1 for c in layer.constants.values()):
        raise _refusal(layer, "bounds that are not two numbers")
    low, high = (float(layer.constants[place].reshape(())) for place in (1, 2))
    return ops.clip(inputs[0], low, high)


def _activation(name: str) -> _Apply:
    return lambda layer, inputs, shapes: keras.layers.Activation(name, name=layer.name)(inputs[0])


def _leaky_relu(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    slope = float(layer.arguments["alpha"])
    return keras.layers.LeakyReLU(negative_slope=slope, name=layer.name)(inputs[0])


def _round(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    return ops.round(inputs[0])


def _reshape(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    return keras.layers.Reshape(shapes[0][1:], name=layer.name)(inputs[0])


def _transpose(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    order = _constant(layer).tolist()
    if order[0] != 0:
        raise _refusal(layer, "a transposition of the batch")
    return keras.layers.Permute(order[1:], name=layer.name)(inputs[0])


def _split(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    sizes = [constant for constant in layer.constants.values() if constant.ndim == 1]
    axis = int(next(c for c in layer.constants.values() if c.ndim == 0)) % len(inputs[0].shape)
    if not sizes:
        return ops.split(inputs[0], len(shapes), axis=axis)
    return ops.split(inputs[0], np.cumsum(sizes[0])[:-1].tolist(), axis=axis)


def _concatenate(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    axis = layer.constants.get(len(inputs))
    if axis is None or len(layer.constants) != 1:
        raise _refusal(layer, "a concatenation with a constant")
    return keras.layers.Concatenate(axis=int(axis), name=layer.name)(inputs)


def _pad(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    widths = layer.constants[1].tolist()
    value = float(layer.constants[2]) if 2 in layer.constants else 0.0
    return ops.pad(inputs[0], widths, mode="constant", constant_values=value)


def _reduction(name: str) -> _Apply:
    def apply(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
        rank = len(inputs[0].shape)
        axes = tuple(sorted(int(axis) % rank for axis in np.atleast_1d(_constant(layer))))
        keepdims = bool(layer.arguments.get("keep_dims", False))
        if axes == (1, 2) and rank == 4:
            kinds = {"mean": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}
            pool = getattr(keras.layers, kinds[name])
            return pool(keepdims=keepdims, name=layer.name)(inputs[0])
        return getattr(ops, name)(inputs[0], axis=axes, keepdims=keepdims)

    return apply


def _slice(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    begin = np.maximum(layer.constants[1], 0).tolist()
    return _part(layer, inputs[0], begin, shapes[0])


def _strided_slice(layer: Layer, inputs: list[Any], shapes: _Shapes) -> Any:
    x = inputs[0]
    begin, _, strides = (layer.constants[place].tolist() for place in (1, 2, 3))
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    if any(layer.arguments.get(mask) for mask in masks) or any(stride != 1 for stride in strides):
        raise _refusal(layer, "a slice of steps, or one that adds or drops an axis")
    ignored = layer.arguments.get("begin_mask", 0)
    first = [0 if ignored >> i & 1 else start for i, start in enumerate(begin)]
    first += [0] * (len(x.shape) - len(first))
    first = [
        start + size if start < 0 else start for start, size in zip(first, (0, *x.shape[1:]), strict=True)
    ]
    return _part(layer, x, first, shapes[0])


def _part(layer: Layer, x: Any, begin: list[int], shape: tuple[int | None, ...]) -> Any:
    """Slices axis by axis: of every axis that gets shorter, the middle one of a split in three."""
    if begin[0] != 0:
        raise _refusal(layer, "a slice of the batch")
    for axis in range(1, len(begin)):
        size = x.shape[axis]
        if shape[axis] == size:
            continue
        stop = begin[axis] + (shape[axis] or 0)
        x = ops.split(x, [begin[axis], stop], axis=axis)[1]
    return x


_OPERATIONS: dict[str, _Apply] = {
    "Add": _add,
    "AddV2": _add,
    "BiasAdd": _add,
    "ClipByValue": _clip,
    "ConcatV2": _concatenate,
    "Elu": _activation("elu"),
    "ExpandDims": _reshape,
    "LeakyRelu": _leaky_relu,
    "Max": _reduction("max"),
    "Maximum": _extreme,
    "Mean": _reduction("mean"),
    "Minimum": _extreme,
    "Mul": _multiply,
    "Neg": lambda layer, inputs, shapes: _affine(layer, inputs[0], -1.0, 0.0),
    "Pad": _pad,
    "PadV2": _pad,
    "RealDiv": _divide,
    "Relu": _activation("relu"),
    "Relu6": _activation("relu6"),
    "Reshape": _reshape,
    "Round": _round,
    "Selu": _activation("selu"),
    "Sigmoid": _activation("sigmoid"),
    "Slice": _slice,
    "Softmax": _activation("softmax"),
    "Softplus": _activation("softplus"),
    "Split": _split,
    "SplitV": _split,
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "Sub": _subtract,
    "Tanh": _activation("tanh"),
    "Transpose": _transpose,
}
