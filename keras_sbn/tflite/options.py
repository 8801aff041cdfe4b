"""Names of runtimes and kernels, and the numbers of padding and activations in operator options."""

from __future__ import annotations

from typing import Literal

#: LCE's binary kernels: "default" is the one of 64-bit ARM, "indirect" the faster one elsewhere, and
#: "reference" the slow one of a build without Ruy, as CMake makes it on a Raspberry Pi.
Kernel = Literal["default", "indirect", "reference"]
KERNELS: tuple[Kernel, ...] = ("default", "indirect", "reference")

#: What runs a file: the kernels of keras-sbn-kernels in LiteRT, the Larq Compute Engine's interpreter, or
#: stock TFLite, of LiteRT, tflite-runtime or TensorFlow.
Runtime = Literal["kernels", "lce", "litert"]
RUNTIMES: tuple[Runtime, ...] = ("kernels", "lce", "litert")

PADDING = {"same": 0, "valid": 1}
ACTIVATION = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}
