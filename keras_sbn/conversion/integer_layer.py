"""The integer first layer: an 8-bit image, an int8 kernel, exact integer sums, a threshold.

For an image x of 8-bit integers and a kernel w of int8, ``a = conv(x, w)`` is an integer, and

    a >= t   <=>   clamp(a - t, -1, 0) = 0

so one int8 CONV_2D of scales 1, with the int32 bias -t and the fused RELU_N1_TO_1, writes the binary
value as the portable target stores it (`keras_sbn.conversion.tflite`). No float is rounded before the
first sign, so every processor decides alike. A uint8 image becomes int8 by a zero point of -128, which is
also the 0 that the native padding pads with.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.conversion.lowering import Lowering, static_shape
from keras_sbn.conversion.options import ACTIVATION, PADDING
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv

#: Scale and zero point of a stored binary value: int8 ends at 127, which is the value 0.
BINARY = (1.0, 127)
#: Scale and zero point of an 8-bit image in int8.
IMAGE = (1.0, -128)


def integer_convolution(
    low: Lowering, node: Node, op: BinaryConv, thresholds: np.ndarray, image: int, name: str, suffix: str
) -> int:
    """Emits the convolution of an image with thresholds inside, and returns the int8 tensor it writes.

    Args:
        low: Receives the operators.
        node: The convolution.
        op: What it computes; its border is 0, or it has none.
        thresholds: Integers, one an output channel.
        image: The int8 tensor of the image.
        name: Name of the tensor that is written.
        suffix: What to add to it.
    """
    ones = [1.0] * op.kernel.shape[-1]
    kernel = np.ascontiguousarray(op.kernel.transpose(3, 0, 1, 2))
    fields = {
        "padding": PADDING[op.padding],
        "strideH": op.strides[0],
        "strideW": op.strides[1],
        "dilationHFactor": op.dilation_rate[0],
        "dilationWFactor": op.dilation_rate[1],
        "fusedActivationFunction": ACTIVATION["relu_n1_to_1"],
    }
    return low.emit(
        node.name,
        "CONV_2D",
        [
            image,
            low.constant(node.name, "kernel", kernel, ones),
            low.constant(node.name, "bias", (-thresholds).astype(np.int32), ones),
        ],
        static_shape(node),
        name=name,
        suffix=suffix,
        dtype="int8",
        options=("Conv2D", fields),
        version=6 if op.groups > 1 else 3,
        quantization=BINARY,
    )
