"""The folded binary convolution."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.convolution import convolve, output_sizes
from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryConv2D(FoldedLayer):
    """Convolution with an int8 kernel of -1 and +1, channels last.

    On inputs of -1 and +1 its output is an exact integer, held in float32.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Height and width of the window.
        strides: Strides of the window.
        padding: `"valid"` or `"same"`.
        pad_value: What `"same"` pads with.
        dilation_rate: Dilation of the window.
        groups: Number of groups of channels.
        **kwargs: `name`.

    Attributes:
        kernel: int8 weight `(height, width, channels / groups, filters)`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.BinaryConv2D(4, (3, 3), padding="same", pad_value=1.0)
    >>> layer(np.ones((1, 5, 5, 2))).shape
    (1, 5, 5, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, ...],
        strides: tuple[int, ...] = (1, 1),
        padding: str = "valid",
        pad_value: float = 1.0,
        dilation_rate: tuple[int, ...] = (1, 1),
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.pad_value = float(pad_value)
        self.dilation_rate = tuple(dilation_rate)
        self.groups = groups

    def build(self, input_shape: Any) -> None:
        shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self.kernel = self.add_constant("kernel", shape, "int8")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return convolve(
            ops.cast(inputs, "float32"),
            ops.cast(self.kernel, "float32"),
            strides=self.strides,
            padding=self.padding,
            pad_value=self.pad_value,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )

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
            "pad_value": self.pad_value,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }
