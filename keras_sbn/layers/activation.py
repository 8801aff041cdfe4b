"""The self-binarizing activation."""

from __future__ import annotations

from typing import Any

import keras

from keras_sbn.layers.base import SelfBinarizingLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingActivation(SelfBinarizingLayer):
    """Activation ``tanh(nu * x)`` that becomes ``sign(x)`` as the sharpness nu rises.

    Source: Lahoud et al., arXiv 1902.00730, section 3.2. Put it after batch normalization, before the
    next binary layer.

    Args:
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient is taken; `None` is the paper's exact gradient.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Any. Masks pass through.

    Output shape:
        The shape of the input; values in [-1, 1], exactly -1 and +1 once the layer is hard.

    Raises:
        ValueError: If `max_gradient_sharpness` is not positive.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingActivation()
    >>> layer(np.array([[-2.0, 0.0, 0.5]]))  # -0.96, 0, 0.46
    """

    def __init__(self, max_gradient_sharpness: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(max_gradient_sharpness=max_gradient_sharpness, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.activation_sharpness = self.add_sharpness("activation_sharpness")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.binarize_activation(self.as_floats(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
