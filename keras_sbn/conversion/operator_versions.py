"""From which version on an operator takes a type, as TFLite's op_version.cc has it."""

from __future__ import annotations

#: Operators with one version for all types that they are written with.
_ONE_VERSION = ("LceQuantize", "RESHAPE")
#: The version that takes int16, where it is not the third.
_INT16_FROM = {
    "MAXIMUM": 4,
    "MINIMUM": 4,
    "MUL": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "SUB": 5,
    "TRANSPOSE": 5,
}


def version_of(operator: str, dtype: str) -> int:
    """The first version of an operator that computes with a type.

    The first one takes float32 and bits, the second int8, and mostly the third int16. Operators whose
    version depends on more than the type of their first input are not asked for here.
    """
    if operator in _ONE_VERSION:
        return 1
    return {"int8": 2, "int16": _INT16_FROM.get(operator, 3)}.get(dtype, 1)
