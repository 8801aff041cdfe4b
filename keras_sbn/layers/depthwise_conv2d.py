"""The self-binarizing depthwise convolution."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from keras_sbn.layers.base import positive_integer
from keras_sbn.layers.base_window import PaddedWindowLayer, check_equal_strides


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingDepthwiseConv2D(PaddedWindowLayer):
    """Depthwise two-dimensional convolution whose kernel becomes -1 and +1 during training.

    Each input channel is convolved with its own `depth_multiplier` kernels of one channel. The latent
    kernel has the shape `(*kernel_size, channels, depth_multiplier)`. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        kernel_size: Positive integer or two, height and width of the window.
        strides: Positive integer or two equal ones.
        padding: `"valid"` or `"same"`.
        depth_multiplier: Positive integer, number of output channels for each input channel.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's own setting.
        dilation_rate: Positive integer or two. Larger than 1 only without strides.
        activation: Function of the output, or its name. Default none: a
            `SelfBinarizingActivation` follows batch normalization.
        use_bias: Whether to add a bias. Off by default: batch normalization follows.
        depthwise_initializer: Initializer of the latent depthwise kernel.
        bias_initializer: Initializer of the bias.
        depthwise_regularizer: Regularizer of the latent depthwise kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        depthwise_constraint: Constraint of the latent depthwise kernel.
        bias_constraint: Constraint of the bias.
        pad_value: What `"same"` pads with. The default +1 is a binary value, so a padded binary
            convolution stays binary.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for the image itself.
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
        `(batch, new_height, new_width, channels * depth_multiplier)`, or channels first likewise.

    Raises:
        ValueError: If an argument is out of range, or the input does not fit.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingDepthwiseConv2D(3, padding="same", depth_multiplier=2)
    >>> layer(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 6)
    >>> layer.binary_kernel().shape
    (3, 3, 3, 2)
    """

    rank = 2

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = None,
        use_bias: bool = False,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        pad_value: float = 1.0,
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
            kernels={"depthwise": (depthwise_initializer, depthwise_regularizer, depthwise_constraint)},
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            pad_value=pad_value,
            binarize_input=binarize_input,
            binarize_kernel=binarize_kernel,
            normalize_kernel=normalize_kernel,
            kernel_scale=kernel_scale,
            max_gradient_sharpness=max_gradient_sharpness,
            **kwargs,
        )
        self.depth_multiplier = positive_integer(depth_multiplier, "depth_multiplier")
        check_equal_strides(self.strides)

    def build(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        self.kernel = self.add_kernel(
            (*self.kernel_size, channels, self.depth_multiplier), prefix="depthwise"
        )
        self.add_output_weights(self.output_channels(channels))
        self.finish_build(input_shape)

    def product(self, inputs: Any) -> Any:
        return self.convolve(inputs, self.effective_kernel(), depthwise=True)

    def kernel_magnitude(self) -> Any:
        return ops.reshape(self.magnitude(self.kernel, axes=(0, 1)), (-1,))

    def output_channels(self, input_channels: int) -> int:
        return input_channels * self.depth_multiplier

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}
