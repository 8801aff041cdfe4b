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

#: Releases of ai-edge-litert that were asked, the oldest first.
LITERT_RELEASES = ("1.2.0", "2.0.2", "2.1.0", "2.1.3", "2.3.0")
_R0, _R1, _R2, _R3, _R4 = LITERT_RELEASES
#: The oldest release that runs kernels of other packages.
OLDEST_WITH_KERNELS = _R2
#: By operator, the highest version and the first release that has it.
LITERT_VERSIONS: dict[str, tuple[tuple[int, str], ...]] = {
    "ABS": ((5, _R0),),
    "ADD": ((5, _R0), (6, _R4)),
    "AVERAGE_POOL_2D": ((3, _R0),),
    "CAST": ((7, _R0), (8, _R2), (9, _R4)),
    "CONCATENATION": ((4, _R0), (5, _R3), (7, _R4)),
    "CONV_2D": ((8, _R0),),
    "DEPTHWISE_CONV_2D": ((7, _R0),),
    "DEQUANTIZE": ((6, _R0), (7, _R2), (8, _R3), (9, _R4)),
    "DIV": ((2, _R0),),
    "ELU": ((1, _R0),),
    "EXP": ((2, _R0),),
    "FULLY_CONNECTED": ((13, _R0), (14, _R2)),
    "GELU": ((2, _R0), (3, _R4)),
    "HARD_SWISH": ((1, _R0),),
    "LEAKY_RELU": ((2, _R0),),
    "LOGISTIC": ((3, _R0),),
    "MAXIMUM": ((4, _R0),),
    "MAX_POOL_2D": ((3, _R0),),
    "MEAN": ((3, _R0),),
    "MINIMUM": ((4, _R0),),
    "MUL": ((7, _R0), (8, _R4)),
    "NEG": ((1, _R0),),
    "PAD": ((4, _R0), (5, _R1), (6, _R4)),
    "PADV2": ((4, _R0), (5, _R1), (6, _R4)),
    "PRELU": ((1, _R0),),
    "QUANTIZE": ((3, _R0), (4, _R2), (6, _R3)),
    "REDUCE_MAX": ((3, _R0),),
    "REDUCE_MIN": ((3, _R0),),
    "RELU": ((3, _R0),),
    "RELU6": ((3, _R0),),
    "RESHAPE": ((1, _R0),),
    "RESIZE_NEAREST_NEIGHBOR": ((4, _R0),),
    "ROUND": ((1, _R0),),
    "RSQRT": ((3, _R0),),
    "SLICE": ((6, _R0), (7, _R2), (8, _R4)),
    "SOFTMAX": ((3, _R0), (4, _R4)),
    "SPLIT": ((4, _R0), (5, _R4)),
    "SQUARED_DIFFERENCE": ((2, _R0),),
    "STRIDED_SLICE": ((8, _R0),),
    "SUB": ((5, _R0),),
    "SUM": ((2, _R0),),
    "TANH": ((3, _R0),),
    "TRANSPOSE": ((7, _R0), (9, _R4)),
    "TRANSPOSE_CONV": ((5, _R0),),
}
#: Types that a version lets in, and the kernel of the operator refuses.
NOT_IN_LITERT = {
    "CONV_2D": frozenset({"int8*int2"}),
    "DEPTHWISE_CONV_2D": frozenset({"int8*int2"}),
}

#: By operator, types that its version lets in and the kernel takes from a release on.
TYPES_FROM = {"QUANTIZE": {"int8>int16": _R3}}

LCE_OPERATORS = frozenset({"LceBMaxPool2d", "LceBconv2d", "LceDequantize", "LceQuantize"})
#: By operator, the highest version in LCE 0.16.
LCE_VERSIONS = {
    "ABS": 5,
    "ADD": 5,
    "AVERAGE_POOL_2D": 3,
    "CAST": 6,
    "CONCATENATION": 4,
    "CONV_2D": 8,
    "DEPTHWISE_CONV_2D": 7,
    "DEQUANTIZE": 5,
    "DIV": 2,
    "ELU": 1,
    "EXP": 2,
    "FULLY_CONNECTED": 11,
    "GELU": 2,
    "HARD_SWISH": 1,
    "LEAKY_RELU": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 7,
    "NEG": 1,
    "PAD": 4,
    "PADV2": 4,
    "PRELU": 1,
    "QUANTIZE": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RESHAPE": 1,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "ROUND": 1,
    "RSQRT": 3,
    "SLICE": 6,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "SQUARED_DIFFERENCE": 2,
    "STRIDED_SLICE": 8,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TRANSPOSE": 6,
    "TRANSPOSE_CONV": 5,
}

#: Types that a version lets in, and LCE's kernel of the operator refuses.
NOT_IN_LCE = {**NOT_IN_LITERT, "QUANTIZE": frozenset({"int8>int16"})}

_FLOAT, _INT8, _INT16 = "float32", "int8", "int16"
_ALL = frozenset({_FLOAT, _INT8, _INT16})
_CONVOLUTION = frozenset({"float32*float32", "int8*int8", "int8*int4", "int16*int8"})
#: By operator, the types in TensorFlow Lite Micro.
MICRO_TYPES: dict[str, frozenset[str]] = {
    "ABS": _ALL,
    "ADD": _ALL | {"int32"},
    "AVERAGE_POOL_2D": _ALL,
    "CONCATENATION": _ALL | {"bool", "int32", "int64"},
    "CONV_2D": _CONVOLUTION,
    "DEPTHWISE_CONV_2D": _CONVOLUTION,
    "DEQUANTIZE": frozenset({"int8>float32", "int16>float32", "uint8>float32"}),
    "DIV": frozenset({_FLOAT, _INT8}),
    "ELU": frozenset({_FLOAT, _INT8}),
    "EXP": frozenset({_FLOAT}),
    "FULLY_CONNECTED": _CONVOLUTION,
    "LEAKY_RELU": _ALL,
    "LOGISTIC": _ALL,
    "MAXIMUM": _ALL | {"int32", "int64"},
    "MAX_POOL_2D": _ALL,
    "MEAN": _ALL,
    "MINIMUM": _ALL | {"int32", "int64"},
    "MUL": _ALL | {"int32"},
    "NEG": frozenset({_FLOAT}),
    "PAD": _ALL | {"int32"},
    "PADV2": _ALL | {"int32"},
    "PRELU": frozenset({_FLOAT, _INT8}),
    "QUANTIZE": frozenset(
        {
            "float32>int16",
            "float32>int8",
            "int16",
            "int16>int8",
            "int8",
            "int8>int16",
            "int8>uint8",
            "uint8>int8",
        }
    ),
    "REDUCE_MAX": frozenset({_FLOAT, _INT8}),
    "REDUCE_MIN": frozenset({_FLOAT, _INT8}),
    "RELU": _ALL,
    "RELU6": _ALL,
    "RESHAPE": _ALL | {"uint8", "int32"},
    "RESIZE_NEAREST_NEIGHBOR": _ALL,
    "ROUND": frozenset({_FLOAT}),
    "RSQRT": frozenset({_FLOAT, _INT8}),
    "SLICE": _ALL | {"bool", "int32"},
    "SOFTMAX": frozenset({_FLOAT, _INT8, _INT16, "int8>int16"}),
    "STRIDED_SLICE": _ALL | {"bool", "int32"},
    "SUB": _ALL | {"int32"},
    "SUM": _ALL,
    "TANH": _ALL,
    "TRANSPOSE": _ALL,
    "TRANSPOSE_CONV": frozenset({"float32*float32", "int8*int8", "int16*int8"}),
}

_NPU = frozenset({_INT8, _INT16, "uint8"})
_NPU_CONVOLUTION = frozenset({"int8*int8", "uint8*uint8", "int16*int8"})
#: By operator, the types on the Ethos-U55 and U65.
ETHOS_TYPES: dict[str, frozenset[str]] = {
    "ABS": _NPU,
    "ADD": _NPU | {"int32"},
    "AVERAGE_POOL_2D": _NPU,
    "CONCATENATION": _NPU,
    "CONV_2D": _NPU_CONVOLUTION,
    "DEPTHWISE_CONV_2D": _NPU_CONVOLUTION,
    "FULLY_CONNECTED": _NPU_CONVOLUTION,
    "LEAKY_RELU": _NPU,
    "LOGISTIC": _NPU,
    "MAXIMUM": _NPU,
    "MAX_POOL_2D": _NPU,
    "MEAN": _NPU,
    "MINIMUM": _NPU,
    "MUL": _NPU | {"int32"},
    "PAD": _NPU,
    "PADV2": _NPU,
    "QUANTIZE": frozenset(
        {"int16", "int16>int8", "int8", "int8>int16", "int8>uint8", "uint8>int8", "uint8>int16"}
    ),
    "RELU": _NPU,
    "RELU6": _NPU,
    "RESHAPE": _NPU | {"int32"},
    "RESIZE_NEAREST_NEIGHBOR": _NPU,
    "SLICE": _NPU,
    "SOFTMAX": _NPU,
    "STRIDED_SLICE": _NPU,
    "SUB": _NPU | {"int32"},
    "TANH": _NPU,
    "TRANSPOSE": _NPU,
    "TRANSPOSE_CONV": _NPU_CONVOLUTION,
}

_GPU_TYPES = frozenset({_FLOAT, "float32*float32"})
#: Operators and types of delegates, as their documentation has them (ai.google.dev/edge/litert): the
#: GPU's takes float models, and 8-bit ones that it computes in float; Core ML's float models alone.
DELEGATES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "GPU delegate": (
        frozenset(
            {
                "ADD",
                "AVERAGE_POOL_2D",
                "CONCATENATION",
                "CONV_2D",
                "DEPTHWISE_CONV_2D",
                "DEQUANTIZE",
                "EXP",
                "FULLY_CONNECTED",
                "LOGISTIC",
                "MAXIMUM",
                "MAX_POOL_2D",
                "MEAN",
                "MINIMUM",
                "MUL",
                "PAD",
                "PRELU",
                "QUANTIZE",
                "RELU",
                "RELU6",
                "RESHAPE",
                "RESIZE_NEAREST_NEIGHBOR",
                "SLICE",
                "SOFTMAX",
                "STRIDED_SLICE",
                "SUB",
                "TANH",
                "TRANSPOSE_CONV",
            }
        ),
        _GPU_TYPES
        | {"int8", "int8*int8", "int8>float32", "float32>int8", "uint8>float32", "uint8>int8", "uint8"},
    ),
    "Core ML delegate": (
        frozenset(
            {
                "ADD",
                "AVERAGE_POOL_2D",
                "CONCATENATION",
                "CONV_2D",
                "DEPTHWISE_CONV_2D",
                "FULLY_CONNECTED",
                "HARD_SWISH",
                "LOGISTIC",
                "MAX_POOL_2D",
                "MUL",
                "PAD",
                "RELU",
                "RELU6",
                "RESHAPE",
                "SOFTMAX",
                "TANH",
                "TRANSPOSE_CONV",
            }
        ),
        _GPU_TYPES,
    ),
}
