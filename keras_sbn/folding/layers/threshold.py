"""The comparison that batch normalization and sign fold into."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class Threshold(FoldedLayer):
    """+1 where ``direction * x >= threshold``, -1 elsewhere; a threshold a channel, channels last.

    Args:
        integer: Whether the inputs are integers. The thresholds are int32 then, and float32 if not.
        directed: Whether a channel can compare the other way round. If not, every direction is +1.
        axes: Number of last axes the thresholds run over: 1 is one a channel, the rank of a sample is one
            of its own at every position.
        **kwargs: `name`.

    Attributes:
        threshold: int32 or float32 weight, of the sizes of the last `axes` axes.
        direction: int8 weight of -1 and +1, of the same shape, or `None`.

    Output shape:
        The shape of the input; values -1 and +1, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.Threshold()  # its thresholds start at 1
    >>> layer(np.array([[0.0, 1.0, 2.0]]))  # -1, 1, 1
    """

    def __init__(
        self, integer: bool = True, directed: bool = False, axes: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.axes = axes
        self.integer = integer
        self.directed = directed

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape[len(input_shape) - self.axes :])
        self.threshold = self.add_constant("threshold", shape, "int32" if self.integer else "float32")
        self.direction = self.add_constant("direction", shape, "int8") if self.directed else None
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        threshold = ops.cast(self.threshold, "float32")
        if self.direction is not None:
            x = x * ops.cast(self.direction, "float32")
        if self.integer:
            # Half an integer is as good as the integer, and a fast convolution that returns 2.999999
            # where the sum is 3 (Winograd, FFT) does not change the decision.
            threshold = threshold - 0.5
        one = ops.ones((), "float32")
        return ops.where(x < threshold, -one, one)  # NaN is +1, as for `sign`.

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "integer": self.integer,
            "directed": self.directed,
            "axes": self.axes,
        }
