"""The convolution that the self-binarizing Conv layers of every rank share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_sbn.convolution import convolve, output_sizes, over_positions
from keras_sbn.layers.base import SelfBinarizingKernelLayer


def standardize_tuple(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """Returns `value` as a tuple of `rank` positive integers, or raises a ValueError naming `name`."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or not all(isinstance(v, int) and v > 0 for v in values):
        raise ValueError(
            f"Expected `{name}` to be a positive integer or {rank} of them. Received: {name}={value}"
        )
    return values


class BaseSelfBinarizingConv(SelfBinarizingKernelLayer):
    """N-dimensional self-binarizing convolution; the public layers fix the rank."""

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        pad_value: float = 1.0,
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        paddings = ("valid", "same", "causal") if self.rank == 1 else ("valid", "same")
        if not isinstance(padding, str) or padding.lower() not in paddings:
            raise ValueError(f"Expected `padding` to be one of {paddings}. Received: {padding=}")
        if not isinstance(filters, int) or filters <= 0:
            raise ValueError(f"Expected `filters` to be a positive integer. Received: filters={filters}")
        if not isinstance(groups, int) or groups <= 0 or filters % groups:
            raise ValueError(
                "Expected `groups` to be a positive integer that divides `filters`. Received: "
                f"groups={groups}, filters={filters}"
            )
        self.filters = filters
        self.kernel_size = standardize_tuple(kernel_size, self.rank, "kernel_size")
        self.strides = standardize_tuple(strides, self.rank, "strides")
        self.padding = padding.lower()
        self.pad_value = float(pad_value)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                "Expected `data_format` to be 'channels_last' or 'channels_first'. Received: "
                f"data_format={data_format}"
            )
        self.dilation_rate = standardize_tuple(dilation_rate, self.rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Expected `strides` or `dilation_rate` to be 1: no backend combines them. Received: "
                f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            )
        self.groups = groups
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self._channel_axis]
        if channels is None or channels % self.groups:
            raise ValueError(
                "Expected a known number of input channels that `groups` divides. Received: "
                f"input_shape={tuple(input_shape)}, groups={self.groups}"
            )
        self.add_kernel_and_bias((*self.kernel_size, channels // self.groups, self.filters), self.filters)
        self.input_spec = keras.layers.InputSpec(ndim=self.rank + 2, axes={self._channel_axis: channels})
        self.built = True

    def call(self, inputs: Any) -> Any:
        if self.binarize_input:
            inputs = self.binarize_activation(inputs)
        outputs = convolve(
            inputs,
            ops.cast(self.effective_kernel(), inputs.dtype),
            strides=self.strides,
            padding=self.padding,
            pad_value=self.pad_value,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        if self.bias is not None:
            outputs = outputs + over_positions(self.bias, self.rank, self.data_format)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        channels_last = self.data_format == "channels_last"
        sizes = output_sizes(
            tuple(input_shape[1:-1] if channels_last else input_shape[2:]),
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
        )
        if channels_last:
            return (input_shape[0], *sizes, self.filters)
        return (input_shape[0], self.filters, *sizes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "pad_value": self.pad_value,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }
