"""Which values of each axis STRIDED_SLICE takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Fields of its options that have a bit an axis: it is whole at an end, or one place that is no axis any
#: more. The others are not read.
_MASKS = ("beginMask", "endMask", "shrinkAxisMask")
_OTHERS = ("ellipsisMask", "newAxisMask", "offset")


def strided(
    options: Mapping[str, Any],
    shape: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
) -> list[range]:
    """The indices that a strided slice takes of every axis, as Python's own slices do.

    Args:
        options: Of the operator.
        shape: Of the value that is sliced.
        begin: Where each axis begins, below 0 counted from its end.
        end: Where it ends.
        strides: How far apart the values are, below 0 backwards.

    Raises:
        ValueError: If the operator has new axes, an ellipsis or offsets.
    """
    found = [name for name in _OTHERS if options.get(name)]
    if found:
        raise ValueError(
            "Expected a STRIDED_SLICE of places of the axes alone. Received: one with "
            f"{', '.join(f'{name}={options[name]}' for name in found)}."
        )
    taken = []
    for axis, (size, first, stop, stride) in enumerate(zip(shape, begin, end, strides, strict=True)):
        bits = {name for name in _MASKS if options.get(name, 0) >> axis & 1}
        if "shrinkAxisMask" in bits:
            taken.append(range(first % size, first % size + 1))
            continue
        place = slice(None if "beginMask" in bits else first, None if "endMask" in bits else stop, stride)
        taken.append(range(*place.indices(size)))
    return taken
