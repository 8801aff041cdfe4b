"""The self-binarizing transposed convolution."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from keras_sbn.layers.base import positive_integer
from keras_sbn.layers.base_window import WindowLayer, standardize_tuple


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingConv2DTranspose(WindowLayer):
    """Transposed two-dimensional convolution whose kernel becomes -1 and +1 during training.

    Each input position adds its value times the kernel to the outputs around ``position * strides``. The
    latent kernel has the shape `(*kernel_size, filters, channels)`. There is no `pad_value`: `padding`
    says what is cut off the output, and nothing is put around the input. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Positive integer or two, height and width of the window.
        strides: Positive integer or two: how many times larger the output is.
        padding: `"valid"` or `"same"`.
        output_padding: Integer or two, at least 0 and less than the strides, added to the output size;
            `None` lets Keras infer it.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's own setting.
        dilation_rate: Positive integer or two. Larger than 1 only without strides.
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
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with channels first.

    Output shape:
        `(batch, new_height, new_width, filters)`, or channels first likewise.

    Raises:
        ValueError: If an argument is out of range, or the input does not fit.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingConv2DTranspose(16, 3, strides=2, padding="same")
    >>> layer(np.ones((2, 8, 8, 3))).shape
    (2, 16, 16, 16)
    >>> layer.binary_kernel().shape
    (3, 3, 16, 3)
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        output_padding: int | tuple[int, ...] | None = None,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
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
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
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
        self.filters = positive_integer(filters, "filters")
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = standardize_tuple(output_padding, self.rank, "output_padding", 0)
            if any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
                raise ValueError(
                    "Expected `output_padding` to be less than `strides`. Received: "
                    f"output_padding={output_padding}, strides={self.strides}"
                )

    def build(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        self.kernel = self.add_kernel((*self.kernel_size, self.filters, channels))
        self.add_output_weights(self.filters)
        self.finish_build(input_shape)

    def product(self, inputs: Any) -> Any:
        return self._transpose(inputs, ops.cast(self.effective_kernel(), inputs.dtype))

    def _transpose(self, inputs: Any, kernel: Any) -> Any:
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def kernel_magnitude(self) -> Any:
        return self.magnitude(self.kernel, axes=(0, 1, 3))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        channels = self.input_channels(input_shape)
        inputs = keras.KerasTensor(tuple(input_shape))
        kernel = keras.KerasTensor((*self.kernel_size, self.filters, channels))
        return tuple(self._transpose(inputs, kernel).shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "output_padding": self.output_padding,
        }
