"""What the folded convolutions share."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from keras_sbn.convolution import output_sizes
from keras_sbn.folding.layers.base import FoldedLayer


class BinaryConv(FoldedLayer):
    """Convolution with an int8 kernel of -1 and +1, channels last; the public layers fix the rank."""

    rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        pad_per_channel: bool = False,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.strides = self._tuple(strides)
        self.padding = padding
        self.pad_per_channel = pad_per_channel
        self.dilation_rate = self._tuple(dilation_rate)
        self.groups = groups

    def _tuple(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        return (value,) * self.rank if isinstance(value, int) else tuple(value)

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
            left = self.dilation_rate[-1] * (self.kernel_size[-1] - 1)
            unpadded = [[0, 0]] * self.rank
            x, padding = ops.pad(x, [*unpadded, [left, 0], [0, 0]]), "valid"
        return self._convolve(x, kernel, padding) + self._of_padding(kernel)

    def _convolve(self, x: Any, kernel: Any, padding: str) -> Any:
        if padding == "valid" and self.groups == 1 and tuple(x.shape[1:-1]) == self.kernel_size:
            # One position: a folded dense layer, for which backends have a faster matrix product.
            flat = ops.reshape(x, (-1, math.prod(x.shape[1:])))
            product = ops.matmul(flat, ops.reshape(kernel, (-1, self.filters)))
            return ops.reshape(product, (-1, *(1,) * self.rank, self.filters))
        options = {
            "strides": self.strides,
            "padding": padding,
            "dilation_rate": self.dilation_rate,
            "data_format": "channels_last",
        }
        depthwise = self.groups > 1 and kernel.shape[-2] == 1
        if depthwise and self.rank == 2 and len(set(self.strides)) == 1:
            multiplier = self.filters // self.groups
            kernel = ops.reshape(kernel, (*self.kernel_size, self.groups, multiplier))
            return ops.depthwise_conv(x, kernel, **options)
        return ops.conv(x, kernel, **options)

    def _of_padding(self, kernel: Any) -> Any:
        """What every filter gives on an input that is the padding everywhere."""
        depth = kernel.shape[-2]
        pads = ops.broadcast_to(self.pad_values, (self.groups * depth,))
        by_filter = ops.repeat(
            ops.reshape(pads, (self.groups, depth)), self.filters // self.groups, axis=0
        )
        return ops.sum(ops.sum(kernel, axis=tuple(range(self.rank))) * ops.transpose(by_filter), axis=0)

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
