"""The layers that are described by their class and arguments; both sides read this table."""

from __future__ import annotations

_WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias")
_CONV = ("filters", *_WINDOW, "groups")
_TRANSPOSE = ("filters", *_WINDOW, "output_padding")
_POOL = ("pool_size", "strides", "padding", "data_format")
_GLOBAL = ("data_format", "keepdims")

#: The plain layers that Keras 2 and 3 both have, and the arguments of theirs that matter.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "ActivityRegularization": (),
    "Add": (),
    "AlphaDropout": ("rate",),
    "Average": (),
    "AveragePooling1D": _POOL,
    "AveragePooling2D": _POOL,
    "AveragePooling3D": _POOL,
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv1D": _CONV,
    "Conv2D": _CONV,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3D": _CONV,
    "Cropping1D": ("cropping",),
    "Cropping2D": ("cropping", "data_format"),
    "Dense": ("units", "use_bias"),
    "DepthwiseConv2D": (*_WINDOW, "depth_multiplier"),
    "Dropout": ("rate",),
    "ELU": ("alpha",),
    "Flatten": ("data_format",),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "GlobalAveragePooling1D": _GLOBAL,
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalMaxPooling1D": _GLOBAL,
    "GlobalMaxPooling2D": _GLOBAL,
    "LeakyReLU": ("alpha",),
    "MaxPooling1D": _POOL,
    "MaxPooling2D": _POOL,
    "MaxPooling3D": _POOL,
    "Maximum": (),
    "Minimum": (),
    "Multiply": (),
    "PReLU": ("shared_axes",),
    "Permute": ("dims",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "RepeatVector": ("n",),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "SeparableConv2D": ("filters", *_WINDOW, "depth_multiplier"),
    "Softmax": ("axis",),
    "SpatialDropout1D": ("rate",),
    "SpatialDropout2D": ("rate",),
    "Subtract": (),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "ZeroPadding1D": ("padding",),
    "ZeroPadding2D": ("padding", "data_format"),
}
#: Larq's layers.
QUANTIZED_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "QuantConv1D": (*_CONV, "pad_values"),
    "QuantConv2D": (*_CONV, "pad_values"),
    "QuantConv2DTranspose": _TRANSPOSE,
    "QuantConv3D": (*_CONV, "pad_values"),
    "QuantDense": ("units", "use_bias"),
    "QuantDepthwiseConv2D": (*_WINDOW, "depth_multiplier", "pad_values"),
    "QuantSeparableConv2D": ("filters", *_WINDOW, "depth_multiplier", "pad_values"),
}
