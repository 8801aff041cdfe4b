"""The folded binary convolution over three axes."""

from __future__ import annotations

import keras

from keras_sbn.folding.layers.base_conv import BinaryConv


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryConv3D(BinaryConv):
    """Convolution with an int8 kernel of -1 and +1, channels last.

    On inputs of -1 and +1 its output is an exact integer, held in float32.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: The three sizes of the window.
        strides: Strides of the window.
        padding: `"valid"` or `"same"`.
        pad_per_channel: Whether every input channel is padded with a value of its own.
        dilation_rate: Dilation of the window.
        groups: Number of groups of channels.
        **kwargs: `name`.

    Attributes:
        kernel: int8 weight `(*window, channels / groups, filters)`.
        pad_values: float32 weight `(1,)`, or `(channels,)` with `pad_per_channel`.

    Input shape:
        `(batch, a, b, c, channels)`.

    Output shape:
        `(batch, new_a, new_b, new_c, filters)`, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.BinaryConv3D(4, (3, 3, 3), padding="same")
    >>> layer(np.ones((1, 5, 5, 5, 2))).shape
    (1, 5, 5, 5, 4)
    """

    rank = 3
