"""Float kernels that 8 bits hold exactly: ±1 on a real input, blurs, masks.

Such a kernel is a power of two times whole numbers up to 127. It is stored as int8, a quarter of the
bytes, and dequantized once, when the model is loaded: the product with a power of two is exact.
"""

from __future__ import annotations

import numpy as np

from keras_sbn.conversion.emitter import Output, Tensor
from keras_sbn.conversion.registry import Call

#: Below it the operator costs more than it saves.
_WORTHWHILE = 2048


def power_of_two(kernel: np.ndarray) -> float | None:
    """Returns the largest 2^k with every value a whole multiple of it, of 127 at most, or `None`."""
    largest = float(np.abs(kernel).max(initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return None
    # The values are at most 127 times 2^k, so 2^k is at least this one; a larger one is a multiple of it.
    least = 2.0 ** np.ceil(np.log2(largest / 127))
    whole = np.abs(kernel).astype(np.float64) / least
    if (whole != np.round(whole)).any():
        return None
    bits = int(np.bitwise_or.reduce(whole.astype(np.int64), axis=None))
    return float(least * (bits & -bits))


def stored_kernel(call: Call, kernel: np.ndarray) -> Tensor:
    """Adds a float kernel, as int8 and a DEQUANTIZE where that is exact, and returns its float tensor."""
    kernel = kernel.astype(np.float32)
    step = power_of_two(kernel) if kernel.nbytes >= _WORTHWHILE else None
    if step is None:
        return call.emitter.constant("kernel", kernel)
    whole = np.round(kernel.astype(np.float64) / step).astype(np.int8)
    stored = call.emitter.constant("kernel", whole, step)
    output = Output(call.layer, kernel.shape, suffix="float_kernel")
    return call.emitter.unary("DEQUANTIZE", stored, output)
