"""What the layers that slide a window over positions share: its arguments, channels and shapes."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.convolution import convolve, output_sizes, over_positions
from keras_sbn.layers.base import SelfBinarizingKernelLayer, is_integer


def standardize_tuple(value: Any, rank: int, name: str, smallest: int = 1) -> tuple[int, ...]:
    """Returns `value` as a tuple of `rank` integers, or raises a ValueError that names the argument."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * rank
    if len(values) != rank or not all(is_integer(v) and v >= smallest for v in values):
        count = "one integer" if rank == 1 else f"an integer or {rank} of them"
        raise ValueError(
            f"Expected `{name}` to be {count}, at least {smallest}. Received: {name}={value!r}"
        )
    return tuple(int(v) for v in values)


def check_equal_strides(strides: tuple[int, ...]) -> None:
    """Raises a ValueError unless the strides are equal, as depthwise convolutions need them."""
    if len(set(strides)) > 1:
        raise ValueError(
            "Expected equal `strides`: TensorFlow has no depthwise convolution with others. Received: "
            f"strides={strides}"
        )


class WindowLayer(SelfBinarizingKernelLayer):
    """Base of the layers with a kernel that slides over `rank` spatial dimensions.

    Args:
        kernel_size: Positive integer or one a dimension.
        strides: Positive integer or one a dimension.
        padding: `"valid"` or `"same"`, or what else `paddings` of the layer says.
        data_format: `"channels_last"`, `"channels_first"`, or `None` for Keras's own setting.
        dilation_rate: Positive integer or one a dimension.
        **kwargs: Arguments of `SelfBinarizingKernelLayer`.

    Raises:
        ValueError: If an argument is out of range.
    """

    rank: int
    #: The paddings the layer knows.
    paddings: tuple[str, ...] = ("valid", "same")

    def __init__(
        self,
        *,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(padding, str) or padding.lower() not in self.paddings:
            raise ValueError(f"Expected `padding` to be one of {self.paddings}. Received: {padding=}")
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.padding = padding.lower()
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "Expected `data_format` to be 'channels_last' or 'channels_first'. Received: "
                f"data_format={data_format!r}"
            )
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Expected `strides` or `dilation_rate` to be 1: not every backend combines them. "
                f"Received: strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)

    @property
    def channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def input_channels(self, input_shape: Any) -> int:
        channels = input_shape[self.channel_axis]
        if channels is None:
            raise ValueError(
                f"Expected axis {self.channel_axis} of the input, the channels, to have a known size. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        return int(channels)

    def finish_build(self, input_shape: Any) -> None:
        self.compute_output_shape(input_shape)  # raises where the window does not fit
        channels = self.input_channels(input_shape)
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2, axes={self.channel_axis: channels})
        self.built = True

    def over_channels(self, vector: Any) -> Any:
        return over_positions(vector, self.rank, self.data_format)

    def output_channels(self, input_channels: int) -> int:
        """The number of channels the layer gives for that many of the input."""
        raise NotImplementedError("Expected a subclass to define `output_channels`.")

    def output_sizes(self, sizes: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return output_sizes(sizes, self.kernel_size, self.strides, self.padding, self.dilation_rate)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        channels = self.output_channels(self.input_channels(input_shape))
        if self.data_format == "channels_last":
            return (input_shape[0], *self.output_sizes(tuple(input_shape[1:-1])), channels)
        return (input_shape[0], channels, *self.output_sizes(tuple(input_shape[2:])))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }


class PaddedWindowLayer(WindowLayer):
    """Base of the convolutions: the window may stand on the border, which `pad_value` fills.

    Args:
        pad_value: Finite number that `"same"` and `"causal"` pad with.
        **kwargs: Arguments of `WindowLayer`.

    Raises:
        ValueError: If `pad_value` is not a finite number.
    """

    def __init__(self, *, pad_value: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(pad_value, int | float | np.number) or not math.isfinite(pad_value):
            raise ValueError(
                f"Expected `pad_value` to be a finite number. Received: pad_value={pad_value!r}"
            )
        self.pad_value: float = float(pad_value)

    def convolve(self, inputs: Any, kernel: Any, depthwise: bool = False) -> Any:
        return convolve(
            inputs,
            ops.cast(kernel, inputs.dtype),
            strides=self.strides,
            padding=self.padding,
            pad_value=self.pad_value,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
            depthwise=depthwise,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad_value": self.pad_value}
