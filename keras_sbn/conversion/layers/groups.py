"""A convolution with groups as one convolution a group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.registry import Call


@dataclass(frozen=True)
class Part:
    """One group of a convolution: what it computes, what it reads, what it writes, and which filters."""

    op: Any
    x: Tensor
    output: Output
    filters: slice


def by_group(call: Call, x: Tensor, output: Output, write: Callable[[Part], Tensor]) -> Tensor:
    """Emits one convolution a group, each on its channels, and joins what they give.

    The words of the channels of `x`, and of the output, are divided among the groups alike.

    Args:
        call: The convolution.
        x: Its input.
        output: The tensor to write.
        write: Emits one part.
    """
    op = call.op
    if op.groups == 1:
        return write(Part(op, x, output, slice(None)))
    depth, filters = op.kernel.shape[2], op.kernel.shape[3] // op.groups
    read, written = x.shape[-1] // op.groups, output.shape[-1] // op.groups
    pads = np.broadcast_to(op.pad_values, (depth * op.groups,))
    parts = []
    for group in range(op.groups):
        of_group = slice(group * filters, (group + 1) * filters)
        part = dataclasses.replace(
            op,
            kernel=op.kernel[..., of_group],
            pad_values=pads[group * depth : (group + 1) * depth],
            groups=1,
        )
        suffix = f"read_by_group_{group}"
        words = Output(call.layer, (*x.shape[:-1], read), x.quant, x.dtype, suffix=suffix)
        source = call.emitter.slice_of(x, [0, 0, 0, group * read], words)
        own = output.also(shape=(*output.shape[:-1], written), suffix=f"group_{group}")
        parts.append(write(Part(part, source, own, of_group)))
    return call.emitter.concatenation(parts, len(output.shape) - 1, output)
