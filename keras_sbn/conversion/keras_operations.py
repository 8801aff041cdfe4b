"""Functions of keras.ops, and operators between Keras tensors, as stock TFLite operators.

``x + y`` of Keras tensors is no layer but an operation, `keras.src.ops.numpy.Add`. These classes are not
public, so they are told by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sbn.conversion.lowering import Lowering, LoweringError, Options, static_shape
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall, Slot

_BINARY = {
    "Add": "ADD",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
    "Multiply": "MUL",
    "Subtract": "SUB",
    "TrueDivide": "DIV",
    "Divide": "DIV",
}
_REDUCTIONS = {"Max": "REDUCE_MAX", "Mean": "MEAN", "Sum": "SUM"}
_UNARY = {"Absolute": "ABS", "Negative": "NEG", "Round": "ROUND", "Relu": "RELU", "Relu6": "RELU6"}
_UNARY |= {"Sigmoid": "LOGISTIC", "Tanh": "TANH"}


def is_operation(operation: Any) -> bool:
    """Whether something called in a model is an operation of keras.ops and no layer."""
    return isinstance(operation, keras.Operation) and not isinstance(operation, keras.layers.Layer)


def lower_operation(low: Lowering, node: Node, operation: Any) -> int:
    """Emits an operation of keras.ops and returns the tensor it writes.

    Raises:
        LoweringError: If there is no lowering for it.
    """
    kind = type(operation).__name__
    if kind in _BINARY:
        return _binary(low, node, _BINARY[kind])
    if kind in _UNARY:
        tables: dict[str, Options] = {"Absolute": ("Abs", {}), "Negative": ("Neg", {})}
        options = tables.get(kind)
        return low.emit(node.name, _UNARY[kind], _reals(low, node), static_shape(node), options=options)
    if kind in _REDUCTIONS:
        return _reduction(low, node, operation, _REDUCTIONS[kind])
    if kind in _OTHERS:
        return _OTHERS[kind](low, node, operation)
    known = sorted({*_BINARY, *_REDUCTIONS, *_UNARY, *_OTHERS})
    raise LoweringError(
        f"Expected an operation that converts. Received: {kind} {node.name!r}. These do: "
        f"{', '.join(known)}. Replace it, or end the model before it and run the rest outside."
    )


def lower_pick(low: Lowering, node: Node, pick: Any) -> int:
    """Emits one output of an operation that has several: a part of a split."""
    source = node.input
    # Other operations of several outputs are refused before.
    assert isinstance(source.op, KerasCall)
    operation = source.op.operation
    shape = static_shape(source.input)
    axis = operation.axis % len(shape)
    places = operation.indices_or_sections
    if isinstance(places, int):
        places = range(shape[axis] // places, shape[axis], shape[axis] // places)
    begin = (0, *places)[pick.index]
    return slice_of(low, node, low.real(source), begin, axis)


def slice_of(low: Lowering, node: Node, source: int, begin: int, axis: int) -> int:
    """Emits the part of a tensor that starts at `begin` on an axis and has the shape of the node."""
    shape = static_shape(node)
    first = np.zeros(len(shape), np.int32)
    first[axis] = begin
    inputs = [
        source,
        low.constant(node.name, "begin", first),
        low.constant(node.name, "size", np.array(shape, np.int32)),
    ]
    return low.emit(node.name, "SLICE", inputs, shape, options=("Slice", {}))


def _reals(low: Lowering, node: Node) -> list[int]:
    return [low.real(source) for source in node.inputs]


def _arguments(node: Node) -> tuple[Any, ...]:
    """The positional arguments of a call, with a `Slot` for every tensor; keywords follow."""
    assert isinstance(node.op, KerasCall)
    args, kwargs = node.op.arguments
    return (*args, *kwargs.values())


def _binary(low: Lowering, node: Node, operator: str) -> int:
    inputs = []
    for place, value in enumerate(_arguments(node)[:2]):
        if isinstance(value, Slot):
            inputs.append(low.real(node.inputs[value.index]))
        else:
            constant = np.asarray(value, np.float32)
            inputs.append(low.constant(node.name, f"constant_{place}", constant))
    table = "MaximumMinimum" if operator in ("MAXIMUM", "MINIMUM") else operator.capitalize()
    return low.emit(node.name, operator, inputs, static_shape(node), options=(table, {}))


def _reduction(low: Lowering, node: Node, operation: Any, operator: str) -> int:
    rank = len(node.input.shape)
    axes = range(rank) if operation.axis is None else np.atleast_1d(operation.axis)
    wanted = sorted(int(axis) % rank for axis in axes)
    if 0 in wanted:
        raise LoweringError(
            f"Expected a reduction that keeps the batch. Received: {node.name!r} over axes {wanted}"
        )
    inputs = [*_reals(low, node), low.constant(node.name, "axes", np.array(wanted, np.int32))]
    options: Options = ("Reducer", {"keepDims": bool(operation.keepdims)})
    return low.emit(node.name, operator, inputs, static_shape(node), options=options)


def _clip(low: Lowering, node: Node, operation: Any) -> int:
    tensor = low.real(node.input)
    shape = static_shape(node)
    options: Options = ("MaximumMinimum", {})
    for operator, bound, suffix in (
        ("MAXIMUM", operation.x_min, "above"),
        ("MINIMUM", operation.x_max, ""),
    ):
        constant = low.constant(node.name, operator.lower(), np.asarray(bound, np.float32))
        tensor = low.emit(node.name, operator, [tensor, constant], shape, suffix=suffix, options=options)
    return tensor


def _split(low: Lowering, node: Node, operation: Any) -> int:
    # Every part is a slice of the whole (`lower_pick`).
    return low.real(node.input)


def _pad(low: Lowering, node: Node, operation: Any) -> int:
    widths = np.array(operation.pad_width, np.int32)
    if operation.mode != "constant" or widths.shape != (len(node.shape), 2):
        raise LoweringError(
            "Expected padding with a constant and two widths an axis. Received: "
            f"{node.name!r} with mode={operation.mode!r}, pad_width={operation.pad_width}"
        )
    others = [value for value in _arguments(node) if not isinstance(value, Slot) and value is not None]
    inputs = [low.real(node.input), low.constant(node.name, "pad_widths", widths)]
    if not others or float(others[0]) == 0:
        return low.emit(node.name, "PAD", inputs, static_shape(node), options=("Pad", {}))
    inputs.append(low.constant(node.name, "pad_value", np.array(others[0], np.float32)))
    return low.emit(node.name, "PADV2", inputs, static_shape(node), options=("PadV2", {}))


def _concatenate(low: Lowering, node: Node, operation: Any) -> int:
    options: Options = ("Concatenation", {"axis": operation.axis % len(node.shape)})
    return low.emit(node.name, "CONCATENATION", _reals(low, node), static_shape(node), options=options)


_OTHERS: dict[str, Callable[[Lowering, Node, Any], int]] = {
    "Clip": _clip,
    "Concatenate": _concatenate,
    "Pad": _pad,
    "Split": _split,
}
