"""From which version on an operator takes a type, as TFLite's op_version.cc has it."""

from __future__ import annotations

#: The version of each that takes int16; int8 it takes in version 2. What is not here has one version for
#: all types.
INT16_FROM = {
    "ABS": 3,
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 3,
    "DEQUANTIZE": 3,
    "EXP": 3,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 4,
    "PAD": 3,
    "PADV2": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "SOFTMAX": 3,
    "SQUARED_DIFFERENCE": 3,
    "STRIDED_SLICE": 3,
    "SUB": 5,
    "SUM": 3,
    "TANH": 3,
    "TRANSPOSE": 5,
}


def version_of(operator: str, dtype: str) -> int:
    """The first version of an operator that computes with a type.

    Operators whose version depends on more than the type of their first input are not here.
    """
    if operator not in INT16_FROM:
        return 1
    return {"int8": 2, "int16": INT16_FROM[operator]}.get(dtype, 1)
