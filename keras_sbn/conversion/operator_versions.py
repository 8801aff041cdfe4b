"""From which version on an operator takes a type, as TFLite's op_version.cc has it."""

from __future__ import annotations

#: Operators whose version 2 is the one that takes int8.
INT8_FROM_2 = frozenset(
    {
        "ABS",
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "DEQUANTIZE",
        "EXP",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SQUARED_DIFFERENCE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
    }
)
#: The version of each that takes int16; what is not here takes it in version 3, or has one for all types.
INT16_FROM = {
    "ABS": 3,
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

    Operators whose version depends on more than the type of their first input are not here.
    """
    if operator not in INT8_FROM_2:
        return 1
    return {"int8": 2, "int16": INT16_FROM.get(operator, 3)}.get(dtype, 1)
