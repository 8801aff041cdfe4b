"""From a hard Keras 3 model to the description of the Larq model that computes the same."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn import layers
from keras_sbn.folding import graph as graphs
from keras_sbn.folding.fold import require_hard_layers
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall, Placeholder
from keras_sbn.larq.arguments import ARGUMENTS, QUANTIZED_ARGUMENTS
from keras_sbn.larq.description import Call, Description, Input, Kernel, Layer, Value
from keras_sbn.larq.quantizers import MAGNITUDE
from keras_sbn.layers.base import SelfBinarizingKernelLayer

_KINDS = {
    layers.SelfBinarizingConv1D: "QuantConv1D",
    layers.SelfBinarizingConv2D: "QuantConv2D",
    layers.SelfBinarizingConv2DTranspose: "QuantConv2DTranspose",
    layers.SelfBinarizingConv3D: "QuantConv3D",
    layers.SelfBinarizingDense: "QuantDense",
    layers.SelfBinarizingDepthwiseConv2D: "QuantDepthwiseConv2D",
    layers.SelfBinarizingSeparableConv2D: "QuantSeparableConv2D",
}
#: Layers whose `kernel_scale="mean"` is what Larq's magnitude_aware_sign takes.
_MAGNITUDE = ("QuantConv1D", "QuantConv2D", "QuantConv3D", "QuantDense")
#: Operators between Keras tensors, and their layers.
_OPERATORS = ("Add", "Maximum", "Minimum", "Multiply", "Subtract")
#: Batch normalization with this epsilon and the rest of 1 as variance multiplies by gamma.
_EPSILON = 1e-3


def describe_hard(model: Any) -> Description:
    """Describes a model of `keras_sbn.layers` as one of Larq's layers.

    Raises:
        ValueError: If the model is soft, subclassed, folded or not built, or a layer has no counterpart
            in Larq. The message names it.
    """
    graph = graphs.read(model)
    require_hard_layers(model)
    found = Description(model.name, [], [], [], [])
    values: dict[int, Value] = {}
    for index, node in enumerate(graph.inputs):
        assert isinstance(node.op, Placeholder)
        found.inputs.append(Input(node.name, node.shape, node.op.dtype))
        values[id(node)] = (-1, index)
    numbers: dict[int, int] = {}
    for node in graph.nodes():
        if isinstance(node.op, Placeholder):
            continue
        operation = node.op.operation if isinstance(node.op, KerasCall) else None
        sources = [values[id(source)] for source in node.inputs]
        steps = [numbers.get(id(operation))] if id(operation) in numbers else None
        if steps is None:
            described = _describe(node, operation)
            first = len(found.layers)
            found.layers += described
            steps = list(range(first, len(found.layers)))
            if len(described) == 1:
                numbers[id(operation)] = first
        for step in steps:
            assert step is not None
            found.calls.append(Call(step, sources, [node.shape]))
            sources = [(len(found.calls) - 1, 0)]
        values[id(node)] = sources[0]
    found.outputs = [values[id(node)] for node in graph.outputs]
    return found


def _describe(node: Node, layer: Any) -> list[Layer]:
    """The layers of Larq that a layer becomes, one after another."""
    kind = type(layer).__name__
    if isinstance(layer, SelfBinarizingKernelLayer) and type(layer) in _KINDS:
        return _quantized(node, layer, _KINDS[type(layer)])
    if isinstance(layer, layers.SelfBinarizingActivation):
        return [Layer(node.name, "Quantizer", {"quantizer": "ste_sign"})]
    if isinstance(layer, layers.BinaryBatchNormalization):
        return [_batch_normalization(node, layer)]
    if kind in _OPERATORS and isinstance(layer, keras.Operation) and len(node.inputs) == 2:
        return [Layer(node.name, kind)]
    if kind in (*ARGUMENTS, "Activation", "Normalization") and type(layer) is getattr(keras.layers, kind):
        return [_plain(node, layer, kind)]
    raise ValueError(
        "Expected layers that Larq or Keras 2 has: those of keras_sbn.layers and "
        f"{', '.join(ARGUMENTS)}. Received: {node.name!r}, {kind}. A folded model cannot go back: give "
        "the model it was folded from."
    )


def _array(weight: Any) -> np.ndarray:
    return ops.convert_to_numpy(weight).astype(np.float32)


def _quantized(node: Node, layer: Any, kind: str) -> list[Layer]:
    arguments = _arguments(layer, QUANTIZED_ARGUMENTS[kind])
    described = Layer(node.name, kind, arguments)
    described.input_quantizer = "ste_sign" if layer.binarize_input else None
    magnitude = layer.kernel_scale == "mean" and kind in _MAGNITUDE
    quantizer = (MAGNITUDE if magnitude else "ste_sign") if layer.binarize_kernel else None
    for weight in layer.weights:
        if weight.name.endswith("kernel"):
            name = "depthwise_kernel" if kind == "QuantDepthwiseConv2D" else weight.name
            described.kernels[name] = Kernel(_array(weight), _array(weight), quantizer)
        elif weight.name == "bias":
            described.weights["bias"] = _array(weight)
    activation = getattr(layer.activation, "__name__", "linear")
    if activation != "linear":
        arguments["activation"] = activation
    if layer.kernel_scale is None or magnitude:
        return [described]
    # Larq has no such scale; batch normalization of mean 0 and variance 1 multiplies, and adds the bias.
    scale = layer.kernel_scale_values()
    arguments["use_bias"] = False
    arguments.pop("activation", None)
    norm = Layer(f"{node.name}_scale", "BatchNormalization", {"axis": -1, "epsilon": _EPSILON})
    norm.weights = {
        "gamma": scale,
        "beta": described.weights.pop("bias", np.zeros_like(scale)),
        "moving_mean": np.zeros_like(scale),
        "moving_variance": np.full_like(scale, 1 - _EPSILON),
    }
    after = Layer(f"{node.name}_activation", "Activation", {"activation": activation})
    return [described, norm] if activation == "linear" else [described, norm, after]


def _batch_normalization(node: Node, layer: Any) -> Layer:
    arguments = _arguments(layer, ARGUMENTS["BatchNormalization"])
    weights = {"moving_mean": _array(layer.moving_mean), "moving_variance": _array(layer.moving_variance)}
    if layer.scale:
        weights["gamma"] = _array(layer.gamma)
    if layer.center:
        weights["beta"] = _array(layer.beta)
    return Layer(node.name, "BatchNormalization", arguments, weights=weights)


def _plain(node: Node, layer: Any, kind: str) -> Layer:
    described = Layer(node.name, kind)
    if kind == "Normalization":
        described.arguments = {"axis": -1, **{n: _array(getattr(layer, n)) for n in ("mean", "variance")}}
        return described
    described.arguments = _arguments(layer, ARGUMENTS.get(kind, ()))
    activation = getattr(layer, "activation", None)
    if activation is not None:
        described.arguments["activation"] = activation.__name__
    for weight in layer.weights:
        name = weight.name
        if kind == "DepthwiseConv2D" and name == "kernel":
            name = "depthwise_kernel"
        if name not in ("seed_generator_state",):
            described.weights[name] = _array(weight)
    return described


def _arguments(layer: Any, names: tuple[str, ...]) -> dict[str, Any]:
    renamed = {"pad_values": "pad_value"}
    if isinstance(layer, keras.layers.LeakyReLU):
        renamed["alpha"] = "negative_slope"
    found = {name: getattr(layer, renamed.get(name, name)) for name in names}
    if found.get("data_format") == "channels_first":
        raise ValueError(
            f"Expected channels last. Received: layer {layer.name!r} with data_format='channels_first'"
        )
    return {name: value for name, value in found.items() if name != "output_padding" or value is not None}
