"""How many bytes of activations a file has in memory while each of its operators runs.

A tensor is there from the operator that writes it to the last one that reads it; an input of the file
from the start, an output to the end. No runtime can do with less than what is there at once, and a
planner that packs well takes little more.
"""

from __future__ import annotations

import itertools
import math
import re

from keras_sbn.tflite.reader import FileInfo, TensorInfo


def bytes_of(tensor: TensorInfo) -> int:
    """Bytes that a tensor takes in memory; 0 of a type without a size, such as strings."""
    # The names of types end in their bits.
    found = re.search(r"\d+$", tensor.dtype)
    bits = int(found.group()) if found else 8 * (tensor.dtype == "bool")
    return -(-math.prod(tensor.shape) * bits // 8)


def live_bytes(info: FileInfo) -> list[int]:
    """Returns, an operator, the bytes of the tensors in memory while it runs, without constants."""
    first: dict[TensorInfo, int] = dict.fromkeys(info.inputs, 0)
    last: dict[TensorInfo | None, int] = dict.fromkeys(info.inputs, 0)
    for index, op in enumerate(info.operators):
        for tensor in op.outputs:
            first.setdefault(tensor, index)
            last[tensor] = index
        last.update((read, index) for read in op.inputs if read in last)
    last.update((tensor, len(info.operators)) for tensor in info.outputs if tensor in first)
    changes = [0] * (len(info.operators) + 2)
    for kept, start in first.items():
        changes[start] += bytes_of(kept)
        changes[last[kept] + 1] -= bytes_of(kept)
    return list(itertools.accumulate(changes[: len(info.operators)]))
