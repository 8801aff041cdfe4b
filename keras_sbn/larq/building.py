"""From a description to a Keras 3 model that computes what the Larq model computes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_sbn import layers
from keras_sbn.larq.description import Description, Kernel, Layer
from keras_sbn.larq.operations import apply_operation
from keras_sbn.larq.quantizers import SIGNS
from keras_sbn.layers.base import SelfBinarizingLayer
from keras_sbn.sharpness import HARD

_COUNTERPARTS = {
    "QuantConv1D": (layers.SelfBinarizingConv1D, keras.layers.Conv1D),
    "QuantConv2D": (layers.SelfBinarizingConv2D, keras.layers.Conv2D),
    "QuantConv2DTranspose": (layers.SelfBinarizingConv2DTranspose, keras.layers.Conv2DTranspose),
    "QuantConv3D": (layers.SelfBinarizingConv3D, keras.layers.Conv3D),
    "QuantDense": (layers.SelfBinarizingDense, keras.layers.Dense),
    "QuantDepthwiseConv2D": (layers.SelfBinarizingDepthwiseConv2D, keras.layers.DepthwiseConv2D),
    "QuantSeparableConv2D": (layers.SelfBinarizingSeparableConv2D, keras.layers.SeparableConv2D),
}
#: Arguments that Keras 3 calls something else.
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
#: Below it a backend may take a number for 0, and its sign for +1.
_SMALLEST = np.float32(1e-30)


def build(description: Description, allow_float_fallback: bool = False) -> Any:
    """Builds the model, hard, with trainable weights.

    Args:
        description: The Larq model.
        allow_float_fallback: Whether a quantizer that is not the sign is computed in float32.

    Returns:
        A Functional `keras.Model` of layers of Keras and `keras_sbn.layers`.

    Raises:
        ValueError: If a layer has no counterpart; the message names it.
    """
    inputs = [
        keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)
        for entry in description.inputs
    ]
    made = [
        None if layer.kind.startswith("op:") else _make(layer, allow_float_fallback)
        for layer in description.layers
    ]
    results: list[list[Any]] = []
    for call in description.calls:
        layer, counterpart = description.layers[call.layer], made[call.layer]
        sources = [
            inputs[index] if number < 0 else results[number][index] for number, index in call.inputs
        ]
        if counterpart is None:
            if layer.input_quantizer is not None and not allow_float_fallback:
                raise _not_a_sign(layer.name.split("_input_quantizer")[0], layer.input_quantizer)
            results.append(apply_operation(layer, sources, call.shapes))
            continue
        result = sources[0] if len(sources) == 1 else sources
        for part, described in counterpart:
            result = part(result)
            _set_weights(described, part)
        results.append([result])
    outputs = [
        inputs[index] if number < 0 else results[number][index] for number, index in description.outputs
    ]
    model = keras.Model(
        inputs[0] if len(inputs) == 1 else inputs,
        outputs[0] if len(outputs) == 1 else outputs,
        name=description.name,
    )
    for layer in model.layers:
        if isinstance(layer, SelfBinarizingLayer):
            for sharpness in layer.sharpness_weights:
                sharpness.assign(HARD)
    return model


def _not_a_sign(layer: str, quantizer: str) -> ValueError:
    return ValueError(
        f"Expected quantizers of one bit: {', '.join(SIGNS)}, magnitude_aware_sign for kernels. "
        f"Received: layer {layer!r} with {quantizer}, which is not the sign. "
        "allow_float_fallback=True computes it in float32."
    )


def _make(layer: Layer, allow_float_fallback: bool) -> list[tuple[Any, Layer]]:
    """The Keras layers that a layer becomes, one after another, each with what it is made from."""
    arguments = _standard_arguments(layer)
    if layer.kind == "Quantizer":
        return [(layers.SelfBinarizingActivation(name=layer.name), layer)]
    if layer.kind not in _COUNTERPARTS:
        return [(_plain_layer(layer, arguments), layer)]
    separable = layer.kind == "QuantSeparableConv2D"
    for name, kernel in layer.kernels.items():
        if not allow_float_fallback and kernel.quantizer is not None and _scale(layer, name) is None:
            raise _not_a_sign(layer.name, kernel.quantizer)
    scales = {name: _scale(layer, name) for name in layer.kernels}
    ours, plain = _COUNTERPARTS[layer.kind]
    binary = [scale is not None for scale in scales.values()]
    if separable and not (all(binary) and all(_is_one(scale) for scale in scales.values())):
        return _two_steps(layer, arguments)
    binarize_input = layer.input_quantizer in SIGNS
    padded = arguments.get("padding", "valid") != "valid" and arguments.get("pad_values", 0.0) != 0
    if not any(binary) and not binarize_input and not padded:
        arguments.pop("pad_values", None)
        return [(plain(**arguments, name=layer.name), layer)]
    if "pad_values" in arguments:
        arguments["pad_value"] = arguments.pop("pad_values")
    (kernel_scale,) = {_kernel_scale(layer, name) for name in layer.kernels} or {None}
    made = ours(
        **arguments,
        binarize_input=binarize_input,
        binarize_kernel=all(binary),
        kernel_scale=kernel_scale,
        name=layer.name,
    )
    return [(made, layer)]


def _two_steps(layer: Layer, arguments: dict[str, Any]) -> list[tuple[Any, Layer]]:
    """A separable convolution of one float or scaled kernel: depthwise, then pointwise, apart."""
    shared = ("kernel_size", "strides", "padding", "dilation_rate", "data_format", "pad_values")
    own = ("filters", "use_bias", "activation")
    depthwise = Layer(
        f"{layer.name}_depthwise",
        "QuantDepthwiseConv2D",
        {name: arguments[name] for name in (*shared, "depth_multiplier") if name in arguments},
        {"depthwise_kernel": layer.kernels["depthwise_kernel"]},
        input_quantizer=layer.input_quantizer,
    )
    pointwise = Layer(
        layer.name,
        "QuantConv2D",
        {
            **{name: arguments[name] for name in own if name in arguments},
            "kernel_size": 1,
        },
        {"kernel": layer.kernels["pointwise_kernel"]},
        layer.weights,
    )
    return [*_make(depthwise, True), *_make(pointwise, True)]


def _standard_arguments(layer: Layer) -> dict[str, Any]:
    arguments = {}
    for name, value in layer.arguments.items():
        name = _RENAMED.get((layer.kind, name), name)
        if name.endswith("_regularizer"):
            value = keras.regularizers.L1L2(**value)
        arguments[name] = value
    if arguments.get("data_format") == "channels_first":
        raise ValueError(
            f"Expected channels last, the only order of the inference kernels. Received: layer "
            f"{layer.name!r} with data_format='channels_first'"
        )
    return arguments


def _plain_layer(layer: Layer, arguments: dict[str, Any]) -> Any:
    if layer.kind == "BatchNormalization" and isinstance(arguments["axis"], tuple):
        (arguments["axis"],) = arguments["axis"]
    if layer.kind == "Normalization":
        arguments |= {name: value.reshape(-1) for name, value in layer.weights.items()}
    return getattr(keras.layers, layer.kind)(**arguments, name=layer.name)


def _by_filter(layer: Layer, name: str, values: np.ndarray) -> np.ndarray:
    """A kernel as `(values of a filter, filters)`."""
    if layer.kind == "QuantConv2DTranspose":
        return np.moveaxis(values, -2, -1).reshape(-1, values.shape[-2])
    if name == "depthwise_kernel":
        return values.reshape(-1, values.shape[-2] * values.shape[-1])
    return values.reshape(-1, values.shape[-1])


def _scale(layer: Layer, name: str) -> np.ndarray | None:
    """What multiplies the ±1 of each filter, or `None` where the kernel is not ± one number a filter."""
    kernel = layer.kernels[name]
    if kernel.quantizer is None:
        return None
    magnitude = np.abs(_by_filter(layer, name, kernel.quantized))
    largest = magnitude.max(axis=0)
    alike = (np.abs(magnitude - largest) <= 1e-5 * largest).all()
    return largest if alike and (largest > 0).all() else None


def _is_one(scale: np.ndarray | None) -> bool:
    return scale is not None and bool((scale == 1).all())


def _kernel_scale(layer: Layer, name: str) -> str | None:
    """The `kernel_scale` of our layer: "mean" where that is what the quantizer takes, else "learned"."""
    scale = _scale(layer, name)
    if scale is None or _is_one(scale):
        return None
    mean = np.abs(_by_filter(layer, name, layer.kernels[name].latent.astype(np.float64))).mean(axis=0)
    return "mean" if (np.abs(scale - mean) <= 1e-5 * mean).all() else "learned"


def _latent(kernel: Kernel) -> np.ndarray:
    """The latent kernel, with the signs that Larq takes: of zeros and of numbers next to them too."""
    sign = np.where(kernel.quantized >= 0, np.float32(1), np.float32(-1))
    same = (np.where(kernel.latent >= 0, 1, -1) == sign) & (np.abs(kernel.latent) >= _SMALLEST)
    return np.where(same, kernel.latent, sign * _SMALLEST)


def _set_weights(layer: Layer, part: Any) -> None:
    for weight in part.weights:
        value = _value_of(layer, part, weight.name)
        if value is not None:
            weight.assign(value)


def _value_of(layer: Layer, part: Any, name: str) -> np.ndarray | None:
    """The value of a weight of a Keras 3 layer, or `None` for those that Larq has not: the sharpness."""
    if name in layer.weights and layer.kind != "Normalization":
        return layer.weights[name]
    if name == "kernel" and name not in layer.kernels:
        # Both of our depthwise convolutions and Keras 3's call theirs so.
        name = "depthwise_kernel"
    if name in layer.kernels:
        kernel = layer.kernels[name]
        return _latent(kernel) if getattr(part, "binarize_kernel", False) else kernel.quantized
    if name == "log_kernel_scale":
        (scaled,) = layer.kernels
        scale = _scale(layer, scaled)
        assert scale is not None
        return np.log(scale)
    return None
