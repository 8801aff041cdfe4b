"""Running one node of a file without LiteRT."""

from __future__ import annotations

import ctypes

import numpy as np

from keras_sbn_kernels.library import Plan, instruction_sets

USABLE = [name for name, usable in instruction_sets().items() if usable]


def run(content, inputs, outputs, batch, instructions=None, num_threads=1, index=0):
    """Returns the outputs of a node, given arrays in and (shape, type) pairs for what comes out."""
    plan = Plan(content, num_threads, instructions)
    ins = [(ctypes.c_char * array.nbytes).from_buffer_copy(array.tobytes()) for array in inputs]
    sizes = [int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in outputs]
    outs = [(ctypes.c_char * size)() for size in sizes]
    plan.run_node(index, batch, ins, outs)
    plan.close()
    return [
        np.frombuffer(bytes(out), dtype).reshape(shape)
        for out, (shape, dtype) in zip(outs, outputs, strict=True)
    ]
