"""Functions of `keras.ops` between a value and a constant, before a comparison.

A scale a channel that a layer of one's own has, a learned shift before a sign (the RSign of ReActNet,
arXiv 2003.03488), ``x / 2``, ``1 - x``. Let f be such a function in float32, rounding included, and T a
comparison of its values. Each f rises or falls with x, because rounding keeps the order of numbers. So
``T(f(x))`` changes its answer once on the line of float32 numbers, and a bisection of that line finds
where: the answer is the same for every x.

The sign of one such function is that of the real numbers, since no rounding crosses 0. Of several in a
row it need not be: ``0.1 x - 0.3 >= 0`` is true for 3 where each function rounds, and not where a
compiler joins both into one that rounds once, as XLA does. There the fold decides only what both decide
alike, for every value of a grid; where they differ, the functions stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_sbn.folding import thresholds
from keras_sbn.folding.computation import operation_class
from keras_sbn.folding.graph import Node, dtype_of
from keras_sbn.folding.ops import Affine, KerasCall, Slot, Threshold
from keras_sbn.folding.value_ranges import grid

_X = keras.KerasTensor((2, 1))
_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _TRUE_DIVIDE = (
    operation_class(function, _X, _X)
    for function in (ops.add, ops.subtract, ops.multiply, ops.divide, ops.true_divide)
)
_NEGATIVE = operation_class(ops.negative, _X)
_OF_TWO = frozenset({_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE, _TRUE_DIVIDE})
#: The bits of the largest float32 number.
_LARGEST = 0x7F7FFFFF
_ZERO, _ONE = np.zeros(1), np.ones(1)


@dataclass(frozen=True)
class Arithmetic:
    """A function in float32, and the affine map that it is with real numbers."""

    function: Callable[[np.ndarray], np.ndarray]
    affine: Affine


def comparison_before(comparison: Threshold, node: Node) -> tuple[Threshold, Node] | None:
    """The comparison that equals `comparison` of the value of a node, before the arithmetic in it.

    Returns:
        The comparison, and the node whose value it compares; `None` where the node is no arithmetic, or
        its decisions depend on how it is rounded.
    """
    steps, source = _steps(node)
    if not steps:
        return None
    if grid(source) is None:
        # Of real numbers, one function: it is that of float32 in any case.
        return (carried_back(comparison, steps[0]), node.input) if len(steps) == 1 else None
    found = real = comparison
    for step in steps:
        found, real = carried_back(found, step), thresholds.carried_back(real, step.affine)
    found, real = (_on(one, source) for one in (found, real))
    return (found, source) if np.array_equal(found.threshold, real.threshold) else None


def _steps(node: Node) -> tuple[list[Arithmetic], Node]:
    """The functions that make the value of a node, the last first, and what they are applied to."""
    steps = []
    while (step := arithmetic_of(node)) is not None:
        steps.append(step)
        node = node.input
    return steps, node


def _on(comparison: Threshold, source: Node) -> Threshold:
    """The comparison with a number of the grid of a value."""
    lattice = grid(source)
    assert lattice is not None
    return Threshold(
        thresholds.on_grid(comparison.threshold, lattice) / lattice.steps, comparison.direction
    )


def arithmetic_of(node: Node, of_integers: bool = False) -> Arithmetic | None:
    """What a node computes of its only input and a constant, or `None` where it is something else.

    The constant broadcasts against a sample; one that differs along the batch is no constant. Integers,
    which Keras makes floats where the result is one, are taken where `of_integers` says so.
    """
    if not isinstance(node.op, KerasCall) or len(node.inputs) != 1 or dtype_of(node) != "float32":
        return None
    if dtype_of(node.input) != "float32" and not (of_integers and "int" in dtype_of(node.input)):
        return None
    kind = node.op.kind
    if kind is _NEGATIVE:
        return Arithmetic(np.negative, Affine(_ZERO, -_ONE, _ZERO))
    values = keras.tree.flatten(node.op.arguments)
    if kind not in _OF_TWO or len(values) != 2 or node.shape != node.input.shape:
        return None
    comes_first = isinstance(values[1], Slot)
    c = _over_last_axes(values[0 if comes_first else 1], node.shape)
    if c is None or not np.isfinite(c).all():
        return None
    real = c.astype(np.float64)
    if kind is _ADD:
        return Arithmetic(lambda x: x + c, Affine(_ZERO, _ONE, real))
    if kind is _SUBTRACT and comes_first:
        return Arithmetic(lambda x: c - x, Affine(_ZERO, -_ONE, real))
    if kind is _SUBTRACT:
        return Arithmetic(lambda x: x - c, Affine(real, _ONE, _ZERO))
    if kind is _MULTIPLY:
        return Arithmetic(lambda x: x * c, Affine(_ZERO, real, _ZERO))
    if comes_first or not c.all():
        return None
    return Arithmetic(lambda x: x / c, Affine(_ZERO, np.sign(real), _ZERO, np.abs(real)))


def carried_back(comparison: Threshold, arithmetic: Arithmetic) -> Threshold:
    """Returns the comparison of x that equals `comparison` of the function of x, for every float32 x."""
    ones = arithmetic.function(np.ones(1, np.float32))
    slope = np.where(arithmetic.affine.scale < 0, -1.0, 1.0)
    threshold, direction, slope, _ = np.broadcast_arrays(
        comparison.threshold, comparison.direction, slope, ones
    )
    turned = direction * slope

    def holds(keys: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", under="ignore"):
            values = arithmetic.function((turned * _number(keys)).astype(np.float32))
        return direction * values.astype(np.float64) >= threshold

    # It holds at `above`, or nowhere, and not at `below`, or everywhere.
    below, above = np.full(turned.shape, -_LARGEST), np.full(turned.shape, _LARGEST)
    always, never = holds(below), ~holds(above)
    while (above - below > 1).any():
        middle = (below + above) // 2
        found = holds(middle)
        below, above = np.where(found, below, middle), np.where(found, middle, above)
    start = np.where(never, np.inf, _number(above).astype(np.float64))
    return Threshold(np.where(always, -np.inf, start), turned.astype(np.int8))


def _number(keys: np.ndarray) -> np.ndarray:
    """The float32 number at each place of their order, 0 at 0."""
    magnitude = np.abs(keys).astype(np.int32).view(np.float32)
    return np.where(keys < 0, -magnitude, magnitude)


def _over_last_axes(constant: object, shape: tuple[int | None, ...]) -> np.ndarray | None:
    """A constant in float32, with a value for every position of the last axes that it differs over.

    Returns:
        The constant, or `None` where the sizes of these axes are not known, or one is the batch axis.
    """
    found = thresholds.trimmed(np.atleast_1d(np.asarray(constant, np.float32)))
    sizes = shape[len(shape) - found.ndim :]
    if found.ndim >= len(shape) or any(size is None for size in sizes):
        return None
    return np.broadcast_to(found, tuple(int(size or 0) for size in sizes))
