"""Binary convolutions as FULLY_CONNECTED, whose weights stock runtimes take in 4 and 2 bits.

The windows of a convolution are laid side by side: the map, padded, is sliced once for every place of
the window, in strides, and the slices are joined along the channels. What is left is one product with a
matrix at every position, which is what a FULLY_CONNECTED does that keeps the dimensions. The sums are
the same integers.
"""

from __future__ import annotations

import itertools

import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.quantization import BINARY
from keras_sbn.conversion.registry import Call
from keras_sbn.folding.ops import BinaryConv2D


def is_dense(op: BinaryConv2D, sizes: tuple[int, ...], positions: tuple[int, ...]) -> bool:
    """Whether a convolution is a dense layer: one position, whose window is the whole map of these sizes.

    So the fold leaves a dense layer behind a Flatten.
    """
    whole = tuple(op.kernel.shape[:2]) == tuple(sizes) and op.padding == "valid"
    return op.groups == 1 and whole and tuple(positions) == (1, 1)


def few_bits_convolution(call: Call, x: Tensor, least: np.ndarray, bits: int) -> Tensor:
    """Emits a convolution without groups, and the comparison of its sums, in the form of `BINARY`.

    Args:
        call: The convolution.
        x: Its input, with the padding.
        least: The integers that the sums of the input as it is stored are compared with, one a filter.
        bits: 2 or 4, for each weight.
    """
    op = call.op
    kernel = np.ascontiguousarray(op.kernel.transpose(3, 0, 1, 2).reshape(op.kernel.shape[3], -1))
    # XNNPACK takes 2 bits a weight with a scale a filter alone, and LCE's runtime 4 with one for all.
    ones: float | list[float] = [1.0] * len(kernel) if bits == 2 else 1.0
    return call.emitter.fully_connected(
        _windows(call, op, x),
        call.emitter.constant("kernel", kernel, ones, bits=bits),
        call.emitter.constant("bias", (-least).astype(np.int32), ones),
        call.output.also(quant=BINARY, binary=True),
        "relu_n1_to_1",
    )


def _windows(call: Call, op: BinaryConv2D, x: Tensor) -> Tensor:
    """Emits what the window of each position reads, `(1, rows, columns, window * channels)`."""
    rows, columns = call.output.shape[1:3]
    channels, window = x.shape[-1], op.kernel.shape[:2]
    shape = (1, rows, columns, channels)
    if is_dense(op, x.shape[1:3], (rows, columns)) and x.shape != shape:
        whole = Output(call.layer, (1, 1, 1, int(np.prod(x.shape))), x.quant, suffix="windows")
        return call.emitter.reshape(x, whole)
    parts = []
    for place in itertools.product(*map(range, window)):
        begin = [step * rate for step, rate in zip(place, op.dilation_rate, strict=True)]
        if x.shape == shape:
            parts.append(x)
            continue
        output = Output(call.layer, shape, x.quant, suffix=f"window_{place[0]}_{place[1]}")
        parts.append(call.emitter.slice_of(x, [0, *begin, 0], output, (1, *op.strides, 1)))
    if len(parts) == 1:
        return parts[0]
    joined = Output(call.layer, (*shape[:3], len(parts) * channels), x.quant, suffix="windows")
    return call.emitter.concatenation(parts, 3, joined)
