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
        axes: Number of last axes the parameters run over; 1 is one a channel.
        **kwargs: `name`.

    Attributes:
        scale: float32 weight, of the sizes of the last `axes` axes.
        offset: float32 weight, likewise.

    Output shape:
        The shape of the input, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.Affine()  # its scale and offset start at 1
    >>> layer(np.array([[1.0, 2.0]]))  # 2, 3
    """

    def __init__(self, axes: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axes = axes

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[len(input_shape) - self.axes :])
        self.scale = self.add_constant("scale", shape, "float32")
        self.offset = self.add_constant("offset", shape, "float32")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return ops.cast(inputs, "float32") * self.scale + self.offset

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes}
