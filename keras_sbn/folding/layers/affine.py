"""A multiplication and an addition a channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class Affine(FoldedLayer):
    """``x * scale + offset`` a channel, channels last: batch normalization that no sign follows.

    Args:
        **kwargs: `name`.

    Attributes:
        scale: float32 weight `(channels,)`.
        offset: float32 weight `(channels,)`.

    Output shape:
        The shape of the input, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.Affine()  # its scale and offset start at 1
    >>> layer(np.array([[1.0, 2.0]]))  # 2, 3
    """

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_constant("scale", (input_shape[-1],), "float32")
        self.offset = self.add_constant("offset", (input_shape[-1],), "float32")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.cast(inputs, "float32") * self.scale + self.offset

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
