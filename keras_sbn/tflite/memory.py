"""How many bytes of activations a file has in memory while each of its operators runs.

A tensor is there from the operator that writes it to the last one that reads it; an input of the file
from the start, an output to the end. No runtime can do with less than what is there at once, and a
planner that packs well takes little more.
"""

from __future__ import annotations

import math

from keras_sbn.tflite.reader import FileInfo, TensorInfo

#: Bits of an element, by the name of the type.
BITS = {
    "bool": 8,
    "float16": 16,
    "float32": 32,
    "float64": 64,
    "int2": 2,
    "int4": 4,
    "int8": 8,
    "int16": 16,
    "int32": 32,
    "int64": 64,
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
}


def bytes_of(tensor: TensorInfo) -> int:
    """Bytes that a tensor takes in memory; 0 of a type without a size, such as strings."""
    return -(-math.prod(tensor.shape) * BITS.get(tensor.dtype, 0) // 8)


def live_bytes(info: FileInfo) -> list[int]:
    """Returns, an operator, the bytes of the tensors in memory while it runs, without constants."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for tensor in info.inputs:
        first[id(tensor)], sizes[id(tensor)] = 0, bytes_of(tensor)
        last[id(tensor)] = 0
    for index, op in enumerate(info.operators):
        for tensor in op.outputs:
            first.setdefault(id(tensor), index)
            sizes[id(tensor)] = bytes_of(tensor)
            last[id(tensor)] = index
        for read in op.inputs:
            if read is not None and id(read) in first:
                last[id(read)] = index
    for tensor in info.outputs:
        if id(tensor) in first:
            last[id(tensor)] = len(info.operators)
    changes = [0] * (len(info.operators) + 2)
    for key, start in first.items():
        changes[start] += sizes[key]
        changes[last[key] + 1] -= sizes[key]
    found, total = [], 0
    for index in range(len(info.operators)):
        total += changes[index]
        found.append(total)
    return found
