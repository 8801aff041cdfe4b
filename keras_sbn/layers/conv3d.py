"""The self-binarizing three-dimensional convolution."""

from __future__ import annotations

import keras

from keras_sbn.layers.base_conv import BaseSelfBinarizingConv


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingConv3D(BaseSelfBinarizingConv):
    """Three-dimensional convolution whose kernel becomes -1 and +1 during training.

    Computes ``conv(input, tanh(nu * kernel / rms(kernel))) + bias``. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Positive integer or three, depth, height and width of the window.
        strides: Positive integer or three.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's own setting.
        dilation_rate: Positive integer or three. Larger than 1 only without strides.
        groups: Positive integer that divides the input channels and the filters.
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
        pad_value: What `"same"` pads with. The default +1 is a binary value, so a padded binary
            convolution stays binary.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for the volume itself.
        binarize_kernel: Whether the kernel binarizes. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether the kernel is divided by its root mean square before tanh.
        kernel_scale: `None`, or what multiplies each output channel: `"learned"` is ``exp`` of a
            trained weight that starts at 0, `"mean"` the mean magnitude of the channel's latent
            weights (XNOR-Net, arXiv 1603.05279). Batch normalization makes it superfluous.
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient is taken; `None` is the paper's exact gradient.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        `(batch, depth, height, width, channels)`, or `(batch, channels, depth, height, width)` with
        channels first.

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`, or channels first likewise.

    Raises:
        ValueError: If an argument is out of range, or the input does not fit.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingConv3D(16, 3, padding="same")
    >>> layer(np.ones((2, 4, 8, 8, 3))).shape
    (2, 4, 8, 8, 16)
    >>> layer.binary_kernel().dtype
    dtype('int8')
    """

    rank = 3
