"""What each place has: operators, the types they compute with, and their versions.

Types are written as `places.types_of` has them. Where each number comes from:

- LiteRT and LCE: the highest version of an operator that the runtime finds, asked of every release that
  is named here, with files of one operator.
- TensorFlow Lite Micro: the types that its kernels take (tensorflow/lite/micro/kernels, and the
  operators of its Python wheel).
- Ethos-U: the report of Arm's compiler, `vela --supported-ops-report`, version 5.2, for U55 and U65.
  Sizes that its hardware does not have are not in it: `keras-sbn inspect --npu` asks the compiler
  itself.
- Delegates: their documentation. None of them was run.
"""

from __future__ import annotations

from typing import NamedTuple

#: The Larq Compute Engine, whose versions are older than those of every release of LiteRT below.
LCE = "Larq Compute Engine 0.16"
#: Releases of ai-edge-litert that were asked, the oldest first.
LITERT_RELEASES = ("1.2.0", "2.0.2", "2.1.0", "2.1.3", "2.3.0")
_R0, _R1, _R2, _R3, _R4 = LITERT_RELEASES
#: The oldest release that runs kernels of other packages.
OLDEST_WITH_KERNELS = _R2

LCE_OPERATORS = frozenset({"LceBMaxPool2d", "LceBconv2d", "LceDequantize", "LceQuantize"})
#: Types that a version lets in, and the kernel of the operator refuses.
REFUSED = {
    "CONV_2D": frozenset({"int8*int2"}),
    "DEPTHWISE_CONV_2D": frozenset({"int8*int2"}),
}
#: By operator, types that its version lets in and the kernel takes from a release on.
TYPES_FROM = {"QUANTIZE": {"int8>int16": _R3}}

_GPU_TYPES = frozenset({"float32", "float32*float32"})
#: The types of delegates, as their documentation has them (ai.google.dev/edge/litert): the GPU's takes
#: float models, and 8-bit ones that it computes in float; Core ML's float models alone.
DELEGATES = {
    "GPU delegate": _GPU_TYPES
    | {"int8", "int8*int8", "int8>float32", "float32>int8", "uint8>float32", "uint8>int8", "uint8"},
    "Core ML delegate": _GPU_TYPES,
}
_GPU, _CORE_ML = (frozenset({name}) for name in DELEGATES)

_NONE: frozenset[str] = frozenset()
_FLOAT = frozenset({"float32"})
_FLOAT_OR_INT8 = frozenset({"float32", "int8"})
_ALL = frozenset({"float32", "int8", "int16"})
_CONVOLUTION = frozenset({"float32*float32", "int8*int8", "int8*int4", "int16*int8"})
_DEQUANTIZED = frozenset({"int8>float32", "int16>float32", "uint8>float32"})
_REQUANTIZED = frozenset({"int16", "int16>int8", "int8", "int8>int16", "int8>uint8", "uint8>int8"})
_NPU = frozenset({"int8", "int16", "uint8"})
_NPU_CONVOLUTION = frozenset({"int8*int8", "uint8*uint8", "int16*int8"})


class Support(NamedTuple):
    """Where an operator is.

    Attributes:
        versions: By runtime, LCE and then releases of LiteRT, the highest version: of each runtime that
            has a higher one than those before it.
        micro: The types in TensorFlow Lite Micro; none where it is not there.
        ethos: The types on the Ethos-U55 and U65, likewise.
        delegates: The delegates that have it.
    """

    versions: dict[str, int]
    micro: frozenset[str] = _NONE
    ethos: frozenset[str] = _NONE
    delegates: frozenset[str] = _NONE


OPERATORS = {
    "ABS": Support({LCE: 5}, _ALL, _NPU),
    "ADD": Support({LCE: 5, _R4: 6}, _ALL | {"int32"}, _NPU | {"int32"}, _GPU | _CORE_ML),
    "AVERAGE_POOL_2D": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "CAST": Support({LCE: 6, _R0: 7, _R2: 8, _R4: 9}),
    "CONCATENATION": Support(
        {LCE: 4, _R3: 5, _R4: 7}, _ALL | {"bool", "int32", "int64"}, _NPU, _GPU | _CORE_ML
    ),
    "CONV_2D": Support({LCE: 8}, _CONVOLUTION, _NPU_CONVOLUTION, _GPU | _CORE_ML),
    "DEPTHWISE_CONV_2D": Support({LCE: 7}, _CONVOLUTION, _NPU_CONVOLUTION, _GPU | _CORE_ML),
    "DEQUANTIZE": Support({LCE: 5, _R0: 6, _R2: 7, _R3: 8, _R4: 9}, _DEQUANTIZED, delegates=_GPU),
    "DIV": Support({LCE: 2}, _FLOAT_OR_INT8),
    "ELU": Support({LCE: 1}, _FLOAT_OR_INT8),
    "EXP": Support({LCE: 2}, _FLOAT, delegates=_GPU),
    "FULLY_CONNECTED": Support(
        {LCE: 11, _R0: 13, _R2: 14}, _CONVOLUTION, _NPU_CONVOLUTION, _GPU | _CORE_ML
    ),
    "GELU": Support({LCE: 2, _R4: 3}),
    "HARD_SWISH": Support({LCE: 1}, delegates=_CORE_ML),
    "LEAKY_RELU": Support({LCE: 2}, _ALL, _NPU),
    "LOGISTIC": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "MAXIMUM": Support({LCE: 4}, _ALL | {"int32", "int64"}, _NPU, _GPU),
    "MAX_POOL_2D": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "MEAN": Support({LCE: 3}, _ALL, _NPU, _GPU),
    "MINIMUM": Support({LCE: 4}, _ALL | {"int32", "int64"}, _NPU, _GPU),
    "MUL": Support({LCE: 7, _R4: 8}, _ALL | {"int32"}, _NPU | {"int32"}, _GPU | _CORE_ML),
    "NEG": Support({LCE: 1}, _FLOAT),
    "PAD": Support({LCE: 4, _R1: 5, _R4: 6}, _ALL | {"int32"}, _NPU, _GPU | _CORE_ML),
    "PADV2": Support({LCE: 4, _R1: 5, _R4: 6}, _ALL | {"int32"}, _NPU),
    "PRELU": Support({LCE: 1}, _FLOAT_OR_INT8, delegates=_GPU),
    "QUANTIZE": Support(
        {LCE: 3, _R2: 4, _R3: 6},
        _REQUANTIZED | {"float32>int16", "float32>int8"},
        _REQUANTIZED | {"uint8>int16"},
        _GPU,
    ),
    "REDUCE_MAX": Support({LCE: 3}, _FLOAT_OR_INT8),
    "REDUCE_MIN": Support({LCE: 3}, _FLOAT_OR_INT8),
    "RELU": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "RELU6": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "RESHAPE": Support({LCE: 1}, _ALL | {"int32", "uint8"}, _NPU | {"int32"}, _GPU | _CORE_ML),
    "RESIZE_NEAREST_NEIGHBOR": Support({LCE: 4}, _ALL, _NPU, _GPU),
    "ROUND": Support({LCE: 1}, _FLOAT),
    "RSQRT": Support({LCE: 3}, _FLOAT_OR_INT8),
    "SLICE": Support({LCE: 6, _R2: 7, _R4: 8}, _ALL | {"bool", "int32"}, _NPU, _GPU),
    "SOFTMAX": Support({LCE: 3, _R4: 4}, _ALL | {"int8>int16"}, _NPU, _GPU | _CORE_ML),
    "SPLIT": Support({LCE: 4, _R4: 5}),
    "SQUARED_DIFFERENCE": Support({LCE: 2}),
    "STRIDED_SLICE": Support({LCE: 8}, _ALL | {"bool", "int32"}, _NPU, _GPU),
    "SUB": Support({LCE: 5}, _ALL | {"int32"}, _NPU | {"int32"}, _GPU),
    "SUM": Support({LCE: 2}, _ALL),
    "TANH": Support({LCE: 3}, _ALL, _NPU, _GPU | _CORE_ML),
    "TRANSPOSE": Support({LCE: 6, _R0: 7, _R4: 9}, _ALL, _NPU),
    "TRANSPOSE_CONV": Support({LCE: 5}, _CONVOLUTION - {"int8*int4"}, _NPU_CONVOLUTION, _GPU | _CORE_ML),
}
