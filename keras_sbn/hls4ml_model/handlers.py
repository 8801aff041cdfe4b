"""From a folded layer to the layers that hls4ml has in its place.

hls4ml has convolutions and dense layers. Padding with other values than 0, thresholds and multiplications
a channel are layers of `nodes`. A kernel is written out with zeros where it has groups or a dilation,
which hls4ml's convolutions do not read; a product with 0 costs nothing on an FPGA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_sbn.convolution import output_sizes
from keras_sbn.folding import layers
from keras_sbn.folding.layers.base_conv import BinaryConv
from keras_sbn.hls4ml_model import nodes
from keras_sbn.hls4ml_model.names import AFFINE, PAD, THRESHOLD

Configuration = dict[str, Any]


def handle(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[Configuration, ...]:
    """Returns the layers of hls4ml that compute what a layer of this package does.

    Args:
        layer: A layer of `keras_sbn.folding.layers`.
        inputs: Its input, a `KerasTensor`.
        outputs: Its output, likewise.

    Raises:
        ValueError: If the layer is not folded, or hls4ml has nothing like it.
    """
    nodes.register()
    make = _HANDLERS.get(type(layer))
    if make is None:
        raise ValueError(_why_not(layer))
    (source,), (target,) = inputs, outputs
    sizes = tuple(source.shape[1:])
    if None in sizes:
        raise ValueError(
            f"Expected an input of known sizes, which a circuit has. Received: {layer.name!r} with an "
            f"input of shape {tuple(source.shape)}. Give keras.Input the height and the width."
        )
    made = make(layer, sizes, tuple(target.shape[1:]))
    between = [source.name, *(f"{target.name}_{one['name']}" for one in made[:-1]), target.name]
    for configuration, before, after in zip(made, between[:-1], between[1:], strict=True):
        configuration["input_keras_tensor_names"] = [before]
        configuration["output_keras_tensor_names"] = [after]
    return tuple(made)


def _why_not(layer: Any) -> str:
    name = f"{type(layer).__name__} {layer.name!r}"
    if not type(layer).__module__.startswith("keras_sbn.folding"):
        return (
            f"Expected a folded model. Received: one with the layer {name}. Fold it first: "
            "hls4ml.converters.convert_from_keras_model(keras_sbn.fold(model), …)"
        )
    return (
        f"Expected layers that hls4ml can write. Received: {name}, and hls4ml has no such convolution. "
        "Leave it to the processor: end the model before it, with keras.Model(folded.input, "
        "folded.get_layer(…).output)."
    )


def _convolution(
    layer: BinaryConv, sizes: tuple[int, ...], output: tuple[int, ...]
) -> list[Configuration]:
    kernel = written_out(np.asarray(layer.kernel), layer.groups, layer.dilation_rate)
    made = []
    margins = _margins(layer, sizes)
    if any(map(any, margins)):
        padding = {
            "class_name": PAD,
            "name": f"{layer.name}_padding",
            "margins": margins,
            "values": np.asarray(layer.pad_values, "float64"),
        }
        made.append(padding)
        sizes = (*(size + sum(both) for size, both in zip(sizes, margins, strict=False)), sizes[-1])
    convolution = {
        "class_name": "Conv2D",
        "name": layer.name,
        "data_format": "channels_last",
        "in_height": sizes[0],
        "in_width": sizes[1],
        "n_chan": sizes[2],
        "out_height": output[0],
        "out_width": output[1],
        "n_filt": output[2],
        "filt_height": kernel.shape[0],
        "filt_width": kernel.shape[1],
        "stride_height": layer.strides[0],
        "stride_width": layer.strides[1],
        **dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0),
        **_weights(kernel),
    }
    return [*made, convolution]


def _margins(layer: BinaryConv, sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Rows and columns that go before and after the map."""
    covered = [
        rate * (size - 1) + 1 for size, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    if layer.padding == "valid":
        return [(0, 0), (0, 0)]
    if layer.padding == "causal":
        return [(0, 0), (covered[1] - 1, 0)]
    positions = output_sizes(
        sizes[:-1], layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate
    )
    found = []
    for count, size, window, stride in zip(positions, sizes, covered, layer.strides, strict=False):
        assert count is not None
        missing = max((count - 1) * stride + window - size, 0)
        found.append((missing // 2, missing - missing // 2))
    return found


def written_out(kernel: np.ndarray, groups: int, dilation_rate: Sequence[int]) -> np.ndarray:
    """A kernel of groups and a dilation as a plain one, with zeros.

    Args:
        kernel: `(height, width, channels / groups, filters)`.
        groups: Number of groups of channels.
        dilation_rate: Of height and width.

    Returns:
        The kernel `(covered height, covered width, channels, filters)`.
    """
    height, width, depth, filters = kernel.shape
    down, right = dilation_rate
    whole = np.zeros((down * (height - 1) + 1, right * (width - 1) + 1, depth * groups, filters))
    each = filters // groups
    for group in range(groups):
        channels = slice(group * depth, (group + 1) * depth)
        part = slice(group * each, (group + 1) * each)
        whole[::down, ::right, channels, part] = kernel[..., part]
    return whole


def _weights(kernel: np.ndarray) -> Configuration:
    """A kernel: one bit a weight where all are ±1."""
    kernel = kernel.astype("float64")
    found: Configuration = {"weight_data": kernel, "bias_data": None}
    if (np.abs(kernel) == 1).all():
        from hls4ml.model.quantizers import BinaryQuantizer

        found["weight_quantizer"] = BinaryQuantizer(bits=1)
    return found


def _dense(layer: Any, sizes: tuple[int, ...], output: tuple[int, ...]) -> list[Configuration]:
    dense = {
        "class_name": "Dense",
        "name": layer.name,
        "n_in": sizes[-1],
        "n_out": output[-1],
        **_weights(np.asarray(layer.kernel)),
    }
    return [dense]


def _threshold(layer: Any, sizes: tuple[int, ...], output: tuple[int, ...]) -> list[Configuration]:
    thresholds = np.asarray(layer.threshold, "float64").ravel()
    if layer.direction is None:
        return [_comparison(layer, thresholds, np.zeros(thresholds.size))]
    return [_comparison(layer, thresholds, (np.asarray(layer.direction).ravel() < 0).astype("float64"))]


def _sign(layer: Any, sizes: tuple[int, ...], output: tuple[int, ...]) -> list[Configuration]:
    return [_comparison(layer, np.zeros(1), np.zeros(1))]


def _comparison(layer: Any, thresholds: np.ndarray, turned: np.ndarray) -> Configuration:
    values = {"thresholds": thresholds, "turned_channels": turned}
    return {"class_name": THRESHOLD, "name": layer.name, **values}


def _affine(layer: Any, sizes: tuple[int, ...], output: tuple[int, ...]) -> list[Configuration]:
    affine = {
        "class_name": AFFINE,
        "name": layer.name,
        "scales": np.asarray(layer.scale, "float64").ravel(),
        "offsets": np.asarray(layer.offset, "float64").ravel(),
    }
    return [affine]


_HANDLERS: dict[type, Callable[[Any, tuple[int, ...], tuple[int, ...]], list[Configuration]]] = {
    layers.Affine: _affine,
    layers.BinaryConv2D: _convolution,
    layers.BinaryDense: _dense,
    layers.IntegerConv2D: _convolution,
    layers.Sign: _sign,
    layers.Threshold: _threshold,
}
