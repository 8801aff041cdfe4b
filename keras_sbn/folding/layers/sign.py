"""The sign of a real value."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.layers.base import FoldedLayer
from keras_sbn.sharpness import sign


@keras.saving.register_keras_serializable(package="keras_sbn")
class Sign(FoldedLayer):
    """+1 where the input is >= 0, zeros of both signs included, and -1 elsewhere.

    Args:
        **kwargs: `name`.

    Output shape:
        The shape of the input; values -1 and +1, float32.

    Example:

    >>> keras_sbn.folding.layers.Sign()(np.array([[-0.5, -0.0, 2.0]]))  # -1, 1, 1
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        return sign(ops.cast(inputs, "float32"))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
