"""The self-binarizing one-dimensional convolution."""

from __future__ import annotations

import keras

from keras_sbn.layers.base_conv import BaseSelfBinarizingConv


@keras.saving.register_keras_serializable(package="keras_sbn")
class SelfBinarizingConv1D(BaseSelfBinarizingConv):
    """One-dimensional convolution whose kernel becomes -1 and +1 during training.

    Computes ``conv(input, tanh(nu * kernel / rms(kernel))) + bias``. Source: Lahoud et al.,
    arXiv 1902.00730, section 3.1.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Positive integer, length of the window.
        strides: Positive integer.
        padding: `"valid"`, `"same"`, or `"causal"`: output step t depends on input steps up to t only.
        data_format: `"channels_last"` or `"channels_first"`; `None` is Keras's own setting.
        dilation_rate: Positive integer. Larger than 1 only without strides.
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
        pad_value: What `"same"` and `"causal"` pad with. The default +1 is a binary value, so a padded
            binary convolution stays binary.
        binarize_input: Whether the layer binarizes its input as well. Leave it off after a
            `SelfBinarizingActivation` and for the signal itself.
        binarize_kernel: Whether the kernel binarizes. If not, the layer is an ordinary float layer.
        normalize_kernel: Whether the kernel is divided by its root mean square before tanh.
        kernel_scale: `None`, or what multiplies each output channel: `"learned"` is ``exp`` of a
            trained weight that starts at 0, `"mean"` the mean magnitude of the channel's latent
            weights (XNOR-Net, arXiv 1603.05279). Batch normalization makes it superfluous.
        max_gradient_sharpness: Positive float or `None`. Upper bound of the sharpness at which the
            gradient is taken; `None` is the paper's exact gradient.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        `(batch, steps, channels)`, or `(batch, channels, steps)` with channels first.

    Output shape:
        `(batch, new_steps, filters)`, or channels first likewise.

    Raises:
        ValueError: If an argument is out of range, or the input does not fit.

    Example:

    >>> layer = keras_sbn.layers.SelfBinarizingConv1D(16, 3, padding="causal")
    >>> layer(np.ones((2, 8, 3))).shape
    (2, 8, 16)
    >>> layer.binary_kernel().dtype
    dtype('int8')
    """

    rank = 1
    paddings = ("valid", "same", "causal")
