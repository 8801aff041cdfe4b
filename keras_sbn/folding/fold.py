"""The graph pass from a trained model to one of integer kernels and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import keras
import numpy as np
from keras import ops

from keras_sbn.binarize import saturation
from keras_sbn.folding import graph as graphs
from keras_sbn.folding.computation import activation_layer, base_class, change_of
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Affine, KerasCall, Pick, Placeholder
from keras_sbn.folding.rewriting import rewrite as rewrite
from keras_sbn.folding.rules import DEFAULT_RULES, Rule
from keras_sbn.folding.rules.folded_layers import ReadFoldedLayers
from keras_sbn.folding.rules.quantized_first_layer import QuantizeFirstLayer
from keras_sbn.folding.rules.reshapes import LowerReshapes
from keras_sbn.folding.to_keras import LayerMaker
from keras_sbn.folding.trace import FoldTrace
from keras_sbn.layers.base import SelfBinarizingLayer


@overload
def fold(
    model: Any,
    *,
    rules: Sequence[Rule] = ...,
    input_scaling: tuple[float, float] | None = ...,
    quantize_first_layer: bool = ...,
    trace: Literal[False] = ...,
) -> Any: ...


@overload
def fold(
    model: Any,
    *,
    rules: Sequence[Rule] = ...,
    input_scaling: tuple[float, float] | None = ...,
    quantize_first_layer: bool = ...,
    trace: Literal[True],
) -> tuple[Any, FoldTrace]: ...


def fold(
    model: Any,
    *,
    rules: Sequence[Rule] = (),
    input_scaling: tuple[float, float] | None = None,
    quantize_first_layer: bool = False,
    trace: bool = False,
) -> Any:
    """Folds batch normalization and sign into integer thresholds.

    The folded model takes the same inputs and gives the same outputs. Its binary layers hold exact int8
    kernels of -1 and +1 and its signs compare integers with int32 thresholds, so every decision of the
    hard model is taken in exact arithmetic. The original is not changed.

    Args:
        model: A Keras model whose self-binarizing layers are hard: trained to the end with
            `keras_sbn.callbacks.Sharpen`, or made hard with `keras_sbn.binarize`. It is Functional or
            Sequential, with nested models or not, or subclassed, and was called on one tensor. Layers of
            your own are read as the layers and the functions of `keras.ops` that they call.
        rules: Rewrite rules of your own, tried before the package's (see
            `keras_sbn.folding.rules.Rule`).
        input_scaling: `(scale, offset)` where the model was trained on ``scale * image + offset`` of
            8-bit images. The folded model takes the images themselves, uint8, and its first layer, if it
            is binary, sums integers: no float operation comes before the first sign. A model that
            takes uint8 and rescales with a `keras.layers.Rescaling` does not need it.
        quantize_first_layer: Whether a first `keras.layers.Conv2D` of float weights, on uint8 images, is
            quantized to int8 weights, so that it sums integers as well. This changes values a little:
            compare the decisions on data with `keras_sbn.agreement`.
        trace: Whether to tell which rule did what as well.

    Returns:
        A Functional `keras.Model` for inference, of Keras layers and those of
        `keras_sbn.folding.layers`; with `trace`, the model and a `FoldTrace`.

    Raises:
        ValueError: If the model is not built, or subclassed and cannot be read; a self-binarizing layer
            is not hard yet, a weight is NaN or infinite, or a layer cannot be folded.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 1)),
    ...     keras_sbn.layers.SelfBinarizingConv2D(4, 3),
    ...     keras_sbn.layers.BinaryBatchNormalization(),
    ...     keras_sbn.layers.SelfBinarizingActivation(),
    ... ])
    >>> report = keras_sbn.binarize(model)
    >>> [layer.__class__.__name__ for layer in keras_sbn.fold(model).layers]
    ['InputLayer', 'BinaryConv2D', 'Threshold']
    """
    graph = graphs.read(model)
    _refuse_unknown_arithmetic(graph)
    _require_finite_weights(model)
    require_hard_layers(model)
    if input_scaling is not None:
        _take_images(graph, input_scaling)
    quantization = (QuantizeFirstLayer(),) if quantize_first_layer else ()
    steps = rewrite(graph, (*rules, *quantization, *DEFAULT_RULES))
    if quantize_first_layer and not any(step.rule == "QuantizeFirstLayer" for step in steps):
        raise ValueError(
            "Expected a first keras.layers.Conv2D of linear activation on uint8 images to quantize. "
            "Received a model without one: give `input_scaling`, or take uint8 and a Rescaling layer "
            "into the model."
        )
    folded = graphs.build(graph, LayerMaker())
    if not trace:
        return folded
    # Signs that are put together are the values of a function of `keras.ops`, or a part of them.
    made = {layer.name for layer in folded.layers}
    signs = {
        name: node.name
        for name, node in graph.signs.items()
        if node in graph.links and node.name in made and not isinstance(node.op, Pick)
    }
    return folded, FoldTrace(tuple(steps), signs)


def folded_graph(model: Any) -> Graph:
    """Folds a model and returns the graph of the folded one: what conversion and export read.

    A folded model folds to itself, so a trained and a folded model take the same way.
    """
    graph = graphs.read(fold(model))
    rewrite(graph, [ReadFoldedLayers(), LowerReshapes()])
    return graph


def _refuse_unknown_arithmetic(graph: Graph) -> None:
    """Raises a ValueError for a layer that has to be folded, and whose arithmetic is not known."""
    for node in graph.nodes():
        if not isinstance(node.op, KerasCall):
            continue
        refuse_lambda(node)
        _refuse_unknown(node.op.operation, node.name, node.op.change)
        inner = activation_layer(node.op.operation)
        while inner is not None:
            _refuse_lambda(inner, inner.name, f"it is the activation of layer {node.name!r}")
            _refuse_unknown(inner, inner.name, change_of(inner))
            inner = activation_layer(inner)


def refuse_lambda(node: Node) -> None:
    """Raises a ValueError for a Lambda layer that was not read: it cannot be copied either."""
    if isinstance(node.op, KerasCall):
        _refuse_lambda(node.op.operation, node.name, node.op.doubt or node.op.change)


def _refuse_lambda(operation: Any, name: str, why: str | None) -> None:
    if base_class(operation) is keras.layers.Lambda:
        raise ValueError(
            f"Expected layers whose arithmetic is known. Received: Lambda layer {name!r}, and {why}. "
            "Write it with keras.ops or Keras layers, or as a registered layer of your own outside the "
            "binary part of the network."
        )


def _refuse_unknown(operation: Any, name: str, change: str | None) -> None:
    known = base_class(operation)
    if change is not None and known.__module__.startswith("keras_sbn."):
        raise ValueError(
            f"Expected layer {name!r} to compute what {known.__name__} does. Received: "
            f"{change}. Use {known.__name__} itself, and put what is added to it into a "
            "layer of its own before or after it."
        )


def checked_scaling(scaling: Sequence[float]) -> tuple[float, float]:
    """`input_scaling` as two numbers.

    Raises:
        ValueError: If it is not a positive scale and an offset, both finite.
    """
    found = tuple(float(value) for value in scaling)
    if len(found) != 2 or not np.isfinite(found).all() or found[0] <= 0:
        raise ValueError(
            "Expected `input_scaling` to be (scale, offset), finite, with a positive scale. Received: "
            f"input_scaling={scaling}"
        )
    return found[0], found[1]


def _take_images(graph: Graph, scaling: tuple[float, float]) -> None:
    """Puts ``scale * image + offset`` behind every input, which takes uint8 from then on."""
    scale, offset = checked_scaling(scaling)
    for node in graph.inputs:
        assert isinstance(node.op, Placeholder)
        channels = node.shape[-1]
        if len(node.shape) < 2 or channels is None:
            raise ValueError(
                "Expected images with a known number of channels. Received: input "
                f"{node.name!r} of shape {node.shape}"
            )
        node.op = Placeholder(node.op.tensor, "uint8", 255)
        zeros = np.zeros(channels)
        affine = Affine(zeros, zeros + scale, zeros + offset)
        graph.replace(node, Node(graph.new_name(f"{node.name}_rescaling"), affine, [node], node.shape))


def _require_finite_weights(model: Any) -> None:
    for weight in model.weights:
        value = ops.convert_to_numpy(weight)
        if not np.issubdtype(value.dtype, np.floating):
            continue
        # An infinite sharpness is what "hard" means, and an infinite threshold a decision that does not
        # depend on the input; every other weight has to be a number.
        unbounded = weight.name.endswith("_sharpness") or weight.name == "threshold"
        value = value.astype("float32")
        broken = np.count_nonzero(np.isnan(value) if unbounded else ~np.isfinite(value))
        if broken:
            raise ValueError(
                f"Expected finite weights. Received: {weight.path} with {broken} NaN or infinite "
                f"values of {value.size}. The training diverged: lower the learning rate, or restore an "
                "earlier checkpoint."
            )


def require_hard_layers(model: Any) -> None:
    """Raises a ValueError that names the soft layers of a model, if it has any."""
    soft = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, SelfBinarizingLayer) and not layer.is_hard
    ]
    if not soft:
        return
    lines = []
    for layer in soft:
        found = saturation(layer)
        detail = "" if found is None else f", {100 * (1 - found):.1f} % of its kernel not yet ±1"
        nu = max(float(ops.convert_to_numpy(w)) for w in layer.sharpness_weights)
        lines.append(f"  {layer.name}: sharpness {nu:.4g}{detail}")
    raise ValueError(
        "Expected a binary network: every self-binarizing layer at infinite sharpness. Received "
        f"{len(soft)} layers that are still soft:\n" + "\n".join(lines) + "\nTrain with "
        "keras_sbn.callbacks.Sharpen(), or call keras_sbn.binarize(model) to take the signs as they are."
    )
