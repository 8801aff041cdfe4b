"""The convolution that the self-binarizing Conv layers of every rank share."""

from __future__ import annotations

from typing import Any, Literal

from keras_sbn.layers.base import positive_integer
from keras_sbn.layers.base_window import PaddedWindowLayer


class BaseSelfBinarizingConv(PaddedWindowLayer):
    """N-dimensional self-binarizing convolution; the public layers fix the rank."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
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
            kernels={"kernel": (kernel_initializer, kernel_regularizer, kernel_constraint)},
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
        self.groups = positive_integer(groups, "groups")
        if self.filters % self.groups:
            raise ValueError(
                "Expected `groups` to be a positive integer that divides `filters`. Received: "
                f"groups={groups}, filters={filters}"
            )

    def build(self, input_shape: Any) -> None:
        channels = self.input_channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                "Expected a number of input channels that `groups` divides. Received: "
                f"input_shape={tuple(input_shape)}, groups={self.groups}"
            )
        self.kernel = self.add_kernel((*self.kernel_size, channels // self.groups, self.filters))
        self.add_output_weights(self.filters)
        self.finish_build(input_shape)

    def product(self, inputs: Any) -> Any:
        return self.convolve(inputs, self.effective_kernel())

    def output_channels(self, input_channels: int) -> int:
        return self.filters

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}
