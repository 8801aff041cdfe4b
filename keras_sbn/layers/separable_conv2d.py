"""The self-binarizing separable convolution."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_sbn.convolution import convolve
from keras_sbn.layers.base import positive_integer
from keras_sbn.layers.base_window import PaddedWindowLayer, check_equal_strides


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingSeparableConv2D(PaddedWindowLayer):
    """Separable two-dimensional convolution whose two kernels become -1 and +1 during training.

    A depthwise convolution with `depthwise_kernel`, `(*kernel_size, channels, depth_multiplier)`, then a
    1x1 convolution with `pointwise_kernel`, `(1, 1, channels * depth_multiplier, filters)`. One
    sharpness serves both kernels, each divided by its own root mean square. What passes from one to the
    other is not binarized, as in Keras and in Larq's `QuantSeparableConv2D`: nothing normalizes it
    there, and a sign of it would lose most of it. So with d and p the two kernels the layer is one
    convolution, with the kernel

        ``w[i, j, c, f] = d[i, j, c] * p[c, f]``,    c counting channels * depth_multiplier,

    of an input whose channels are each repeated `depth_multiplier` times. This is the kernel that
    `effective_kernel()` and `binary_kernel()` give: products of signs are signs. For a binary
    activation in between, put `SelfBinarizingDepthwiseConv2D`, batch normalization,
    `SelfBinarizingActivation` and a 1x1 `SelfBinarizingConv2D` one after another. Source: Lahoud et
    al., arXiv 1902.00730, section 3.1.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Positive integer or two, height and width of the window.
        strides: Positive integer or two equal ones.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's own setting.
        dilation_rate: Positive integer or two. Larger than 1 only without strides.
        depth_multiplier: Positive integer, number of depthwise outputs for each input channel.
        activation: Function of the output, or its name. Default none: a
            `SelfBinarizingActivation` follows batch normalization.
        use_bias: Whether to add a bias. Off by default: batch normalization follows.
        depthwise_initializer: Initializer of the latent depthwise kernel.
        pointwise_initializer: Initializer of the latent pointwise kernel.
        bias_initializer: Initializer of the bias.
        depthwise_regularizer: Regularizer of the latent depthwise kernel.
        pointwise_regularizer: Regularizer of the latent pointwise kernel.
        bias_regularizer: Regularizer of the bias.
        activity_regularizer: Regularizer of the output.
        depthwise_constraint: Constraint of the latent depthwise kernel.
        pointwise_constraint: Constraint of the latent pointwise kernel.
        bias_constraint: Constraint of the bias.
        pad_value: What `"same"` pads with. The default +1 is a binary value, so a padded binary
            convolution stays binary.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for the image itself.
        binarize_kernel: Whether the kernels binarize. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether each kernel is divided by its root mean square before tanh.
        kernel_scale: `None`, or what multiplies each output channel: `"learned"` is ``exp`` of a
            trained weight that starts at 0, `"mean"` the mean magnitude of the channel's latent
            weights (of w above; XNOR-Net, arXiv 1603.05279). Batch normalization makes it superfluous.
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

    >>> layer = keras_sbn.layers.SelfBinarizingSeparableConv2D(16, 3, padding="same")
    >>> layer(np.ones((2, 8, 8, 4))).shape
    (2, 8, 8, 16)
    >>> layer.binary_depthwise_kernel().shape, layer.binary_pointwise_kernel().shape
    ((3, 3, 4, 1), (1, 1, 4, 16))
    >>> layer.binary_kernel().shape
    (3, 3, 4, 16)
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = False,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
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
            kernels={
                "depthwise": (depthwise_initializer, depthwise_regularizer, depthwise_constraint),
                "pointwise": (pointwise_initializer, pointwise_regularizer, pointwise_constraint),
            },
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
        self.filters = positive_integer(filters, "filters")
        self.depth_multiplier = positive_integer(depth_multiplier, "depth_multiplier")
        check_equal_strides(self.strides)

    def build(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        self.depthwise_kernel = self.add_kernel(
            (*self.kernel_size, channels, self.depth_multiplier), "depthwise_kernel", "depthwise"
        )
        self.pointwise_kernel = self.add_kernel(
            (1, 1, channels * self.depth_multiplier, self.filters), "pointwise_kernel", "pointwise"
        )
        self.add_output_weights(self.filters)
        self.finish_build(input_shape)

    def product(self, inputs: Any) -> Any:
        between = self.convolve(inputs, self.soft_kernel(self.depthwise_kernel), depthwise=True)
        return convolve(
            between,
            ops.cast(self.soft_kernel(self.pointwise_kernel), between.dtype),
            strides=(1, 1),
            padding="valid",
            pad_value=0.0,
            dilation_rate=(1, 1),
            data_format=self.data_format,
        )

    def effective_kernel(self) -> Any:
        depthwise = self.soft_kernel(self.depthwise_kernel)
        depthwise = ops.reshape(depthwise, (*self.kernel_size, -1, 1))
        return depthwise * self.soft_kernel(self.pointwise_kernel)

    def kernel_magnitude(self) -> Any:
        depthwise = ops.reshape(self.magnitude(self.depthwise_kernel, axes=(0, 1)), (-1, 1))
        pointwise = self.magnitude(self.pointwise_kernel, axes=(0, 1))
        return ops.mean(depthwise * pointwise, axis=0)

    def binary_depthwise_kernel(self) -> np.ndarray:
        """Returns the signs of the depthwise kernel, int8; raises as `binary_kernel` does."""
        self.check_built()
        return self.signs(self.depthwise_kernel)

    def binary_pointwise_kernel(self) -> np.ndarray:
        """Returns the signs of the pointwise kernel, int8; raises as `binary_kernel` does."""
        self.check_built()
        return self.signs(self.pointwise_kernel)

    def binary_kernel(self) -> np.ndarray:
        """Returns the kernel of the one convolution that the two are, with ``sign(0) = +1``.

        Returns:
            int8 NumPy array of -1 and +1, `(*kernel_size, channels * depth_multiplier, filters)`.

        Raises:
            ValueError: If the layer is not built, does not binarize its kernels, or holds a weight that
                is not finite.
        """
        depthwise = self.binary_depthwise_kernel().reshape(*self.kernel_size, -1, 1)
        return depthwise * self.binary_pointwise_kernel()

    def output_channels(self, input_channels: int) -> int:
        return self.filters

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth_multiplier": self.depth_multiplier,
        }
