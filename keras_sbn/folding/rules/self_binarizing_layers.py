"""Training layers become signs, integer products, and the affine maps around them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn import layers
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    KerasCall,
    Reshape,
    Sign,
    Slot,
)
from keras_sbn.layers.base import SelfBinarizingKernelLayer


class LowerSelfBinarizingLayers:
    """SelfBinarizing layer => [sign =>] product [=> scale] [=> bias] [=> activation].

    A layer of infinite sharpness computes ``sign(x)`` and ``sign(w)`` and nothing else, so this is its
    definition written out. The scale is positive, and a bias b is ``1 * (a - (-b)) + 0``.
    """

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer = node.op.operation
        if isinstance(layer, layers.SelfBinarizingActivation):
            node.op = Sign()
            graph.signs[node.name] = node
            return True
        if not isinstance(layer, SelfBinarizingKernelLayer):
            return False
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise ValueError(
                f"Expected layer {layer.name!r} to have channels last, the only order the inference "
                f"kernels know. Received: data_format={layer.data_format!r}"
            )
        result = node.input
        if layer.binarize_input:
            result = Node(f"{node.name}_sign", Sign(), [result], result.shape)
            graph.signs[result.name] = result
        if layer.binarize_kernel:
            result = _binary_product(layer, node, result)
        else:
            result = _float_product(layer, node, result)
        if layer.kernel_scale is not None:
            scale = layer.kernel_scale_values().astype(np.float64)
            affine = Affine(np.zeros_like(scale), scale, np.zeros_like(scale))
            result = Node(f"{node.name}_scale", affine, [result], node.shape)
        if layer.bias is not None and layer.binarize_kernel:
            bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
            affine = Affine(-bias, np.ones_like(bias), np.zeros_like(bias))
            result = Node(f"{node.name}_bias", affine, [result], node.shape)
        if layer.activation not in (None, keras.activations.linear):
            name = f"{node.name}_activation"
            activation = keras.layers.Activation(layer.activation, name=name)
            result = Node(name, KerasCall(activation, ((Slot(0),), {})), [result], node.shape)
        graph.replace(node, result)
        return True


def _binary_product(layer: Any, node: Node, source: Node) -> Node:
    """The nodes of the product of `source` and the layer's kernel of ±1."""
    if isinstance(layer, layers.SelfBinarizingDense):
        return Node(node.name, BinaryDense(layer.binary_kernel()), [source], node.shape)
    if isinstance(layer, layers.SelfBinarizingConv2DTranspose):
        transpose = BinaryConv2DTranspose(
            layer.binary_kernel(),
            layer.strides,
            layer.padding,
            layer.output_padding,
            layer.dilation_rate,
        )
        return Node(node.name, transpose, [source], node.shape)
    if isinstance(layer, layers.SelfBinarizingConv1D):
        return _as_two_dimensional(layer, node, source)
    if isinstance(layer, layers.SelfBinarizingSeparableConv2D):
        return _separable_product(layer, node, source)
    kinds = {
        layers.SelfBinarizingConv2D: BinaryConv2D,
        layers.SelfBinarizingConv3D: BinaryConv3D,
        layers.SelfBinarizingDepthwiseConv2D: BinaryConv2D,
    }
    kind = next((kinds[known] for known in kinds if isinstance(layer, known)), None)
    if kind is None:
        raise ValueError(
            f"Expected a layer that can be folded. Received: {type(layer).__name__} {layer.name!r}"
        )
    kernel, groups = layer.binary_kernel(), getattr(layer, "groups", 1)
    if isinstance(layer, layers.SelfBinarizingDepthwiseConv2D):
        kernel, groups = _depthwise_as_groups(kernel)
    conv = kind(
        kernel,
        layer.strides,
        layer.padding,
        np.array([layer.pad_value], np.float64),
        layer.dilation_rate,
        groups,
    )
    return Node(node.name, conv, [source], node.shape)


def _depthwise_as_groups(kernel: np.ndarray) -> tuple[np.ndarray, int]:
    """A depthwise kernel `(h, w, channels, m)` as one of `channels` groups, `(h, w, 1, channels * m)`."""
    height, width, channels, multiplier = kernel.shape
    return kernel.reshape(height, width, 1, channels * multiplier), channels


def _separable_product(layer: Any, node: Node, source: Node) -> Node:
    """Depthwise, then pointwise; with one depthwise filter a channel, one convolution.

    With nothing between the two, ``sum_c p_cf sum_ij d_ijc x = sum_ijc (d_ijc p_cf) x``, and the product
    of signs is a sign: a binary kernel, which inference engines have, where for depthwise they have none.
    """
    pads = np.array([layer.pad_value], np.float64)
    geometry = (layer.strides, layer.padding, pads, layer.dilation_rate)
    if layer.depth_multiplier == 1:
        conv = BinaryConv2D(layer.binary_kernel(), *geometry, 1)
        return Node(node.name, conv, [source], node.shape)
    kernel, groups = _depthwise_as_groups(layer.binary_depthwise_kernel())
    shape = (*node.shape[:-1], kernel.shape[-1])
    depthwise = Node(f"{node.name}_depthwise", BinaryConv2D(kernel, *geometry, groups), [source], shape)
    pointwise = BinaryConv2D(layer.binary_pointwise_kernel(), (1, 1), "valid", np.zeros(1), (1, 1), 1)
    return Node(node.name, pointwise, [depthwise], node.shape)


def _as_two_dimensional(layer: Any, node: Node, source: Node) -> Node:
    """A convolution over steps is one over an image of height 1."""
    if source.shape[1] is None or node.shape[1] is None:
        raise ValueError(
            f"Expected a known number of steps before layer {layer.name!r}. Received: input shape "
            f"{source.shape}. Build the model with keras.Input((steps, channels))."
        )
    conv = BinaryConv2D(
        layer.binary_kernel()[np.newaxis],
        (1, *layer.strides),
        layer.padding,
        np.array([layer.pad_value], np.float64),
        (1, *layer.dilation_rate),
        layer.groups,
    )
    row = as_row(source, f"{node.name}_row")
    product = Node(node.name, conv, [row], (node.shape[0], 1, *node.shape[1:]))
    return Node(f"{node.name}_steps", Reshape(_known(node.shape[1:])), [product], node.shape)


def as_row(node: Node, name: str) -> Node:
    """Reshapes `(batch, steps, channels)` to an image of height 1."""
    shape = (1, *_known(node.shape[1:]))
    return Node(name, Reshape(shape), [node], (node.shape[0], *shape))


def _known(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape if size is not None)


_FLOAT_LAYERS = {
    layers.SelfBinarizingConv1D: keras.layers.Conv1D,
    layers.SelfBinarizingConv2D: keras.layers.Conv2D,
    layers.SelfBinarizingConv3D: keras.layers.Conv3D,
    layers.SelfBinarizingConv2DTranspose: keras.layers.Conv2DTranspose,
    layers.SelfBinarizingDense: keras.layers.Dense,
    layers.SelfBinarizingDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    layers.SelfBinarizingSeparableConv2D: keras.layers.SeparableConv2D,
}

_SHARED_ARGUMENTS = (
    "filters",
    "units",
    "kernel_size",
    "strides",
    "padding",
    "dilation_rate",
    "groups",
    "depth_multiplier",
    "output_padding",
)


def _float_product(layer: Any, node: Node, source: Node) -> Node:
    """A layer whose kernel stays float is Keras's own, with padding by p as an affine map before it.

    ``conv(x, w) = conv(x - p, w) + conv(p, w)``: zeros pad ``x - p``, and the last term is a constant a
    channel, the layer's own output on an input of p everywhere, which goes into the bias.
    """
    kind = next(_FLOAT_LAYERS[known] for known in _FLOAT_LAYERS if isinstance(layer, known))
    config = {name: getattr(layer, name) for name in _SHARED_ARGUMENTS if hasattr(layer, name)}
    shift = getattr(layer, "pad_value", 0.0)
    if config.get("padding", "valid") == "valid":
        shift = 0.0
    kernels = [ops.convert_to_numpy(w) for w in layer.weights if w.name.endswith("kernel")]
    channels = node.shape[-1] or 0
    bias = np.zeros(channels, np.float32)
    if layer.bias is not None:
        bias = ops.convert_to_numpy(layer.bias).astype(np.float32)
    copy = kind(use_bias=True, name=node.name, dtype="float32", **config)
    copy.build(source.shape)
    if shift:
        everywhere = kind(use_bias=False, dtype="float32", **{**config, "padding": "valid"})
        everywhere.build(source.shape)
        everywhere.set_weights(kernels)
        geometry = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        covered = [dilation * (length - 1) + 1 for length, dilation in geometry]
        constant = everywhere(np.full((1, *covered, source.shape[-1] or 0), shift, np.float32))
        bias = bias + ops.convert_to_numpy(constant).reshape(-1)
        minus = np.full(source.shape[-1] or 0, shift)
        affine = Affine(minus, np.ones_like(minus), np.zeros_like(minus))
        source = Node(f"{node.name}_padding", affine, [source], source.shape)
    copy.set_weights([*kernels, bias])
    return Node(node.name, KerasCall(copy, ((Slot(0),), {})), [source], node.shape)
