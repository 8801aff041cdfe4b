"""The graph pass from a trained model to one of integer kernels and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_sbn.binarize import saturation
from keras_sbn.folding import graph as graphs
from keras_sbn.folding.graph import Graph
from keras_sbn.folding.materialize import LayerMaker
from keras_sbn.folding.rules import DEFAULT_RULES, Rule
from keras_sbn.layers.base import SelfBinarizingLayer


def fold(model: Any) -> Any:
    """Folds batch normalization and sign into integer thresholds.

    The folded model takes the same inputs and gives the same outputs. Its binary layers hold exact int8
    kernels of -1 and +1 and its signs compare integers with int32 thresholds, so every decision of the
    hard model is taken in exact arithmetic. The original is not changed.

    Args:
        model: A Functional or Sequential Keras model, nested ones included, whose self-binarizing
            layers are hard: trained to the end with `keras_sbn.callbacks.Sharpen`, or made hard with
            `keras_sbn.binarize`.

    Returns:
        A Functional `keras.Model` for inference, of Keras layers and those of
        `keras_sbn.folding.layers`.

    Raises:
        ValueError: If the model is subclassed or not built, a self-binarizing layer is not hard yet, a
            weight is NaN or infinite, or a layer cannot be folded.

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
    _require_finite_weights(model)
    _require_hard_layers(model)
    rewrite(graph, DEFAULT_RULES)
    return graphs.build(graph, LayerMaker())


def rewrite(graph: Graph, rules: Sequence[Rule]) -> None:
    """Applies the rules, the first that matches first, until none matches any more."""
    while any(rule.apply(graph, node) for rule in rules for node in graph.nodes()):
        pass


def _require_finite_weights(model: Any) -> None:
    for weight in model.weights:
        value = ops.convert_to_numpy(weight)
        # An infinite sharpness is what "hard" means; every other weight has to be a number.
        if weight.name.endswith("_sharpness") or not np.issubdtype(value.dtype, np.floating):
            continue
        broken = np.count_nonzero(~np.isfinite(value.astype("float32")))
        if broken:
            raise ValueError(
                f"Expected finite weights. Received: {weight.path} with {broken} NaN or infinite "
                f"values of {value.size}. The training diverged: lower the learning rate, or restore an "
                "earlier checkpoint."
            )


def _require_hard_layers(model: Any) -> None:
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
