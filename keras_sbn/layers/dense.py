"""The self-binarizing dense layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.layers.base import SelfBinarizingKernelLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingDense(SelfBinarizingKernelLayer):
    """Densely connected layer whose kernel becomes -1 and +1 during training.

    Computes ``matmul(input, tanh(nu * kernel / rms(kernel))) + bias``. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        units: Positive integer, number of outputs.
        use_bias: Whether to add a bias. Off by default: batch normalization follows.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for real-valued input.
        binarize_kernel: Whether the kernel binarizes. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether the kernel is divided by its root mean square before tanh.
        kernel_initializer: Initializer of the latent kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the latent kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint of the latent kernel.
        bias_constraint: Constraint of the bias.
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient is taken; `None` is the paper's exact gradient.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If `units` or `max_gradient_sharpness` is not positive.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingDense(10)
    >>> layer(np.ones((2, 32))).shape
    (2, 10)
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(units, int) or units <= 0:
            raise ValueError(f"Expected `units` to be a positive integer. Received: units={units}")
        self.units = units
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "Expected the last dimension of the input to be known. Received: "
                f"input_shape={tuple(input_shape)}"
            )
        self.add_kernel_and_bias((features, self.units), self.units)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})
        self.built = True

    def call(self, inputs: Any) -> Any:
        if self.binarize_input:
            inputs = self.binarize_activation(inputs)
        outputs = ops.matmul(inputs, ops.cast(self.effective_kernel(), inputs.dtype))
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
