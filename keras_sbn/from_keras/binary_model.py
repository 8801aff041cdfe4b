"""One call from a Keras model to a self-binarizing one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from keras_sbn.folding.fold import refuse_lambda
from keras_sbn.folding.graph import build, recursion_of
from keras_sbn.from_keras.new_graph import NewGraph
from keras_sbn.from_keras.policy import Policy, Role, check_policy, kept, roles
from keras_sbn.from_keras.result import BinaryModel as BinaryModel
from keras_sbn.from_keras.result import LayerChange as LayerChange
from keras_sbn.from_keras.result import changes
from keras_sbn.from_keras.rewriting import Rewriter
from keras_sbn.from_keras.shortcuts import find_shortcuts
from keras_sbn.from_keras.values import Value, read


def binary_model(
    model: Any,
    *,
    policy: Policy = "vgg",
    keep: Iterable[str] | Mapping[str, str] = (),
    carry_weights: bool = True,
) -> BinaryModel:
    """Makes a self-binarizing network of a Keras model.

    Convolutions and dense layers get kernels and inputs of ±1. Between two of them stand pools, one batch
    normalization and a sign, in this order, in place of whatever activation functions were there: these
    fold into one comparison of integers. What stays float reads real values, through the activation
    functions of the original. Nothing is dropped without a row in the table that says so.

    Args:
        model: A Functional or Sequential `keras.Model`, built, with nested models or without; it is not
            changed. The new model is flat.
        policy: Which layers become binary.

            `"vgg"`: all convolutions and dense layers, but for those that give an output, depthwise ones,
            squeeze-and-excitation gates and dense layers that read a table. A first convolution reads the
            real image with a kernel of ±1. Shortcuts that the model has carry signs.

            `"bireal"`: real-valued shortcuts go around every binary convolution that they fit, and those
            that the model has become such (Liu et al., Bi-Real Net, arXiv 1808.00278); activation
            functions before signs are gone. The first layers and the projections of shortcuts stay float.

            A function gets each layer that could be binary, of the original model, and returns "binary",
            "int8" or "float". There are no shortcuts but the model's own, as with "vgg".
        keep: Names of layers that stay as they are, or a dictionary that says "float" or "int8" for each;
            it goes before the policy. The name of a nested model stands for all of its layers. A layer of
            "int8" is float here; `keras_sbn.convert(..., activations=result.activations,
            float_layers=result.float_layers)` writes it in int8, and those of "float" in float32.
        carry_weights: Whether binary kernels start from those of the model, in the scale of their own
            initializer, and batch normalization from its gamma and beta. Layers that stay float always
            have their weights, and statistics where what they read is what they read before.

    Returns:
        A `BinaryModel`: the model, to be compiled and trained with `keras_sbn.callbacks.Sharpen`, and a
        row for every layer of the original.

    Raises:
        ValueError: If the model cannot be read (`keras_sbn.fold`), an argument is wrong, a layer that
            should be binary cannot be, a layer cannot be copied, or no layer becomes binary; the message
            names the layer and the way out.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 1)),
    ...     keras.layers.Conv2D(8, 3, activation="relu"),
    ...     keras.layers.Conv2D(16, 3, activation="relu"),
    ...     keras.layers.MaxPooling2D(),
    ...     keras.layers.Flatten(),
    ...     keras.layers.Dense(10),
    ... ])
    >>> result = keras_sbn.binary_model(model)
    >>> [row.precision for row in result.layers]
    ['binary', 'binary', '', '', 'float']
    >>> type(result.model.layers[1]).__name__
    'SelfBinarizingConv2D'
    """
    check_policy(policy)
    graph, values, outputs = read(model)
    for value in values:
        refuse_lambda(value.node)
    keeping = kept(model, values, keep)
    found = roles(values, outputs, policy, keeping)
    if not any(role.is_binary for role in found.values()):
        raise ValueError(_nothing_is_binary(model, values, found))
    names = set(keeping)
    shortcuts = find_shortcuts(values, found, names) if policy == "bireal" else None
    new = NewGraph(graph)
    rewriter = Rewriter(new, found, names, shortcuts, carry_weights)
    # From an output to an input, a dozen calls a value.
    with recursion_of(20 * len(values)):
        rewriter.finish(outputs)
    rows = tuple(changes(values, new, found, names))
    return BinaryModel(build(new.graph, new.make_layer), rows)


def _nothing_is_binary(model: Any, values: list[Value], found: dict[int, Role]) -> str:
    reasons = {value.name: found[id(value.layer)].reason for value in values if value.is_candidate}
    listed = "; ".join(f"{name!r} {reason}" for name, reason in reasons.items())
    what = f"layers that stay float: {listed}" if reasons else "no convolution or dense layer of Keras"
    return (
        f"Expected a model with a layer that becomes binary. Received: model {model.name!r} with {what}. "
        "Give a function that returns 'binary' for a layer: policy=lambda layer: 'binary'."
    )
