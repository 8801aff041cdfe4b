"""The folded binary dense layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryDense(FoldedLayer):
    """Matrix product with an int8 kernel of -1 and +1.

    It stands where the input is real: on binary inputs the fold makes a `BinaryConv2D` of it.

    Args:
        units: Positive integer, number of outputs.
        **kwargs: `name`.

    Attributes:
        kernel: int8 weight `(features, units)`.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., units)`, float32.

    Example:

    >>> keras_sbn.folding.layers.BinaryDense(4)(np.ones((2, 8))).shape
    (2, 4)
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_constant("kernel", (input_shape[-1], self.units), "int8")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.matmul(ops.cast(inputs, "float32"), ops.cast(self.kernel, "float32"))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
