"""The folded binary convolution."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.convolution import output_sizes
from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryConv2D(FoldedLayer):
    """Convolution with an int8 kernel of -1 and +1, channels last.

    On inputs of -1 and +1 its output is an exact integer, held in float32.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Height and width of the window.
        strides: Strides of the window.
        padding: `"valid"`, `"same"`, or `"causal"`, which pads the left of the width alone.
        pad_per_channel: Whether every input channel is padded with a value of its own.
        dilation_rate: Dilation of the window.
        groups: Number of groups of channels.
        **kwargs: `name`.

    Attributes:
        kernel: int8 weight `(height, width, channels / groups, filters)`.
        pad_values: float32 weight `(1,)`, or `(channels,)` with `pad_per_channel`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.BinaryConv2D(4, (3, 3), padding="same")
    >>> layer(np.ones((1, 5, 5, 2))).shape
    (1, 5, 5, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, ...],
        strides: tuple[int, ...] = (1, 1),
        padding: str = "valid",
        pad_per_channel: bool = False,
        dilation_rate: tuple[int, ...] = (1, 1),
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.pad_per_channel = pad_per_channel
        self.dilation_rate = tuple(dilation_rate)
        self.groups = groups

    def build(self, input_shape: Any) -> None:
        shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self.kernel = self.add_constant("kernel", shape, "int8")
        pads = input_shape[-1] if self.pad_per_channel else 1
        self.pad_values = self.add_constant("pad_values", (pads,), "float32")
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        kernel = ops.cast(self.kernel, "float32")
        if self.padding == "valid":
            return self._convolve(x, kernel, "valid")
        # conv(x, w) = conv(x - p, w) + sum(p * w), so that padding with p is padding with zeros.
        x = x - self.pad_values
        padding = "same"
        if self.padding == "causal":
            left = self.dilation_rate[1] * (self.kernel_size[1] - 1)
            x, padding = ops.pad(x, [[0, 0], [0, 0], [left, 0], [0, 0]]), "valid"
        return self._convolve(x, kernel, padding) + self._of_padding(kernel)

    def _convolve(self, x: Any, kernel: Any, padding: str) -> Any:
        options = {
            "strides": list(self.strides),
            "padding": padding,
            "dilation_rate": list(self.dilation_rate),
            "data_format": "channels_last",
        }
        if self.groups > 1 and kernel.shape[2] == 1 and len(set(self.strides)) == 1:
            multiplier = self.filters // self.groups
            depthwise = ops.reshape(kernel, (*self.kernel_size, self.groups, multiplier))
            return ops.depthwise_conv(x, depthwise, **options)
        return ops.conv(x, kernel, **options)

    def _of_padding(self, kernel: Any) -> Any:
        """What every filter gives on an input that is the padding everywhere."""
        depth = kernel.shape[2]
        pads = ops.broadcast_to(self.pad_values, (self.groups * depth,))
        by_filter = ops.repeat(
            ops.reshape(pads, (self.groups, depth)), self.filters // self.groups, axis=0
        )
        return ops.sum(ops.sum(kernel, axis=(0, 1)) * ops.transpose(by_filter), axis=0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        sizes = output_sizes(
            tuple(input_shape[1:-1]),
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )
        return (input_shape[0], *sizes, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "pad_per_channel": self.pad_per_channel,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }
