"""What the operators of a file multiply: the kernel, its bytes, and how many products it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_sbn import bits
from keras_sbn.tflite.reader import OperatorInfo, TensorInfo

#: Operators whose second input is a kernel.
WITH_KERNEL = frozenset(
    {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "LceBconv2d", "TRANSPOSE_CONV"}
)


@dataclass(frozen=True, eq=False)
class Kernel:
    """The kernel of an operator: the constant, the number of weights, and the products it takes.

    `channel_axis` is the axis of the output channels.
    """

    tensor: TensorInfo
    weights: int
    macs: int
    channel_axis: int

    def share_of_two_values(self) -> float:
        """The share of the weights within 0.5 % of ± the largest of their output channel.

        1.0 is what the Larq Compute Engine's converter takes as binary. A kernel that cannot be read, or
        has one weight a channel, counts as 0.
        """
        values = self.tensor.values()
        if values is None or values.ndim <= self.channel_axis or values.dtype.kind not in "fi":
            return 0.0
        size = np.abs(np.moveaxis(values, self.channel_axis, 0).astype(np.float32))
        size = size.reshape(len(size), -1)
        if size.shape[1] < 2 or not size.size:
            return 0.0
        largest = size.max(axis=1, keepdims=True)
        return float(np.mean((size >= 0.995 * largest) & (largest > 0)))


def producers(operators: Sequence[OperatorInfo]) -> dict[TensorInfo | None, OperatorInfo]:
    """Returns which operator writes a tensor."""
    return {tensor: op for op in operators for tensor in op.outputs}


def kernel_of(op: OperatorInfo, made_by: dict[TensorInfo | None, OperatorInfo]) -> Kernel | None:
    """Returns the kernel of an operator, or `None` where it has none or its shapes make no sense.

    Args:
        op: The operator.
        made_by: What `producers` returns: a kernel that is dequantized when the model is loaded is the
            constant before that.
    """
    tensor = op.input(1) if op.name in WITH_KERNEL else None
    if tensor is None or op.output is None or len(tensor.shape) < 2:
        return None
    shape, output = tensor.shape, op.output.shape
    maker = made_by.get(tensor)
    if tensor.bytes == 0 and maker is not None and maker.name == "DEQUANTIZE":
        tensor = maker.input(0) or tensor
    weights = math.prod(shape)
    positions = math.prod(output[:-1])
    axis = 0
    if op.name == "LceBconv2d":
        depth = min(op.options.get("channels_in", 0), shape[-1] * bits.WORD)
        weights = math.prod(shape[:-1]) * depth
    elif op.name == "DEPTHWISE_CONV_2D":
        axis = len(shape) - 1
    elif op.name == "FULLY_CONNECTED":
        positions = math.prod(output) // max(shape[0], 1)
    elif op.name == "TRANSPOSE_CONV":
        source = op.input(2)
        positions = math.prod(source.shape[:-1]) if source is not None else 0
    return Kernel(tensor, weights, weights * positions, axis)
