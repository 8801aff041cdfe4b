"""Nested loops over axes: which of them are one, and how far apart their elements lie."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Size of an axis, and the step along it in each of two arrays.
Axis = tuple[int, int, int]


def strides(shape: Sequence[int]) -> list[int]:
    """How many elements apart neighbours along each axis are."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def broadcast_axes(shape: Sequence[int], x: Sequence[int], y: Sequence[int]) -> list[Axis]:
    """The axes of a result and the steps in its two operands, 0 where one is repeated."""
    steps = []
    for one in (x, y):
        full = [1] * (len(shape) - len(one)) + list(one)
        pairs = zip(full, strides(full), strict=True)
        steps.append([0 if size == 1 else stride for size, stride in pairs])
    return merged(list(zip(shape, *steps, strict=True)))


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The same loops with as few axes as there can be."""
    found: list[Axis] = []
    for size, x, y in axes:
        if size == 1:
            continue
        if found and found[-1][1] == size * x and found[-1][2] == size * y:
            found[-1] = (found[-1][0] * size, x, y)
        else:
            found.append((size, x, y))
    return found


def filled(axes: Sequence[Axis], count: int, name: str) -> list[Axis]:
    """Exactly so many axes.

    Raises:
        ValueError: If there are more.
    """
    if len(axes) > count:
        raise ValueError(
            f"Expected values of at most {count} axes to loop over. Received: {name!r}, which takes "
            f"{len(axes)}. Reshape axes into one before it."
        )
    return [(1, 0, 0)] * (count - len(axes)) + list(axes)
