"""The folded transposed binary convolution."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.folding.layers.base import FoldedLayer


@keras.saving.register_keras_serializable(package="keras_sbn")
class BinaryConv2DTranspose(FoldedLayer):
    """Transposed convolution with an int8 kernel of -1 and +1, channels last.

    Args:
        filters: Positive integer, number of output channels.
        kernel_size: Height and width of the window.
        strides: Strides of the window.
        padding: `"valid"` or `"same"`.
        output_padding: Rows and columns added to one side of the output, or `None`.
        dilation_rate: Dilation of the window.
        **kwargs: `name`.

    Attributes:
        kernel: int8 weight `(height, width, filters, channels)`.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        `(batch, new_height, new_width, filters)`, float32.

    Example:

    >>> layer = keras_sbn.folding.layers.BinaryConv2DTranspose(4, (3, 3), strides=(2, 2))
    >>> layer(np.ones((1, 5, 5, 2))).shape
    (1, 11, 11, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, ...],
        strides: tuple[int, ...] = (1, 1),
        padding: str = "valid",
        output_padding: tuple[int, ...] | None = None,
        dilation_rate: tuple[int, ...] = (1, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.output_padding = None if output_padding is None else tuple(output_padding)
        self.dilation_rate = tuple(dilation_rate)

    def build(self, input_shape: Any) -> None:
        shape = (*self.kernel_size, self.filters, input_shape[-1])
        self.kernel = self.add_constant("kernel", shape, "int8")
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self._transpose(ops.cast(inputs, "float32"), ops.cast(self.kernel, "float32"))

    def _transpose(self, inputs: Any, kernel: Any) -> Any:
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        kernel = keras.KerasTensor((*self.kernel_size, self.filters, input_shape[-1]))
        return tuple(self._transpose(keras.KerasTensor(tuple(input_shape)), kernel).shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation_rate": self.dilation_rate,
        }
