"""The self-binarizing dense layer."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from keras_sbn.layers.base import SelfBinarizingKernelLayer, positive_integer


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingDense(SelfBinarizingKernelLayer):
    """Densely connected layer whose kernel becomes -1 and +1 during training.

    Computes ``matmul(input, tanh(nu * kernel / rms(kernel))) + bias``. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        units: Positive integer, number of outputs.
        activation: Function of the output, or its name. Default none: a
            `SelfBinarizingActivation` follows batch normalization.
        use_bias: Whether to add a bias. Off by default: batch normalization follows.
        kernel_initializer: Initializer of the latent kernel.
        bias_initializer: Initializer of the bias.
        kernel_regularizer: Regularizer of the latent kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        kernel_constraint: Constraint of the latent kernel.
        bias_constraint: Constraint of the bias.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for real-valued input.
        binarize_kernel: Whether the kernel binarizes. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether the kernel is divided by its root mean square before tanh.
        kernel_scale: `None`, or what multiplies each output channel: `"learned"` is ``exp`` of a
            trained weight that starts at 0, `"mean"` the mean magnitude of the channel's latent
            weights (XNOR-Net, arXiv 1603.05279). Batch normalization makes it superfluous.
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient is taken; `None` is the paper's exact gradient.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        `(batch, ..., features)`. Masks pass through.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: If an argument is out of range, or the features have no known number.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingDense(10)
    >>> layer(np.ones((2, 32))).shape
    (2, 10)
    >>> layer.binary_kernel().dtype
    dtype('int8')
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        binarize_input: bool = False,
        binarize_kernel: bool = True,
        normalize_kernel: bool = True,
        kernel_scale: Literal["learned", "mean"] | None = None,
        max_gradient_sharpness: float | None = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernels={"kernel": (kernel_initializer, kernel_regularizer, kernel_constraint)},
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            binarize_input=binarize_input,
            binarize_kernel=binarize_kernel,
            normalize_kernel=normalize_kernel,
            kernel_scale=kernel_scale,
            max_gradient_sharpness=max_gradient_sharpness,
            **kwargs,
        )
        self.units = positive_integer(units, "units")
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                "Expected the last dimension of the input to be known. Received: "
                f"input_shape={tuple(input_shape)}"
            )
        self.kernel = self.add_kernel((features, self.units))
        self.add_output_weights(self.units)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: features})
        self.built = True

    def product(self, inputs: Any) -> Any:
        return ops.matmul(inputs, ops.cast(self.effective_kernel(), inputs.dtype))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
