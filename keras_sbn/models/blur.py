"""The fixed kernel of a blurred pool."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_sbn")
class Blur(keras.initializers.Initializer):
    """Binomial kernel of a depthwise convolution, `(window, window, channels, 1)`: it sums to 1.

    Of 3 x 3 it is the outer product of (1, 2, 1) / 4 with itself. Its values are fractions of powers of
    two.

    Source: Zhang, Making Convolutional Networks Shift-Invariant Again, arXiv 1904.11486, section 3.2.

    Example:

    >>> from keras_sbn.models.blur import Blur
    >>> kernel = Blur()((3, 3, 1, 1))
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        height, width, channels, multiplier = shape
        rows, columns = _binomial(height), _binomial(width)
        kernel = np.outer(rows, columns)[:, :, np.newaxis, np.newaxis]
        return ops.convert_to_tensor(np.tile(kernel, (1, 1, channels, multiplier)), dtype=dtype)


def _binomial(size: int) -> np.ndarray:
    """The row of Pascal's triangle with `size` numbers, divided by their sum."""
    row = np.ones(1)
    for _ in range(size - 1):
        row = np.convolve(row, [0.5, 0.5])
    return row
