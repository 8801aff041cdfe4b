"""Why a layer is not binary in the file, and what would make it so."""

from __future__ import annotations

from typing import Any

from keras_sbn.conversion.plan import Reason, Unsupported
from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDense,
    KerasCall,
    Placeholder,
    Product,
    Reshape,
    Sign,
    Threshold,
)
from keras_sbn.folding.value_ranges import is_binary

#: Of a convolution of ±1 whose accumulators are wanted as numbers.
SUMS = Reason("its sums are an output, or more than a sign reads them", "")


def reason_to_be_float(node: Node, op: Any) -> Reason:
    """Why a layer that no binary kernel computes is float, and what would make it binary."""
    if isinstance(op, BinaryConv2DTranspose) and is_binary(node.input):
        return SUMS
    if isinstance(op, BinaryConv2D | BinaryConv2DTranspose | BinaryDense):
        return Reason(
            "its input is real-valued",
            "a first layer has to read the image; elsewhere put a SelfBinarizingActivation before it",
        )
    if isinstance(op, Sign | Threshold):
        return Reason("takes the sign of real values", "")
    if isinstance(op, Affine):
        return Reason(
            "no sign follows it alone", "put a SelfBinarizingActivation after it, with no other reader"
        )
    if isinstance(op, Reshape):
        return Reason("moves values, computes nothing", "")
    if isinstance(op, KerasCall) and getattr(op.operation, "weights", None):
        return Reason("its kernel is real-valued", "use its counterpart in keras_sbn.layers")
    return Reason("computes with real values", "")


def no_kernel(name: str, op: Any) -> Unsupported:
    """The target has no operator for binary values of this kind."""
    kind = type(op).__name__
    transposed = isinstance(op, BinaryConv2DTranspose)
    remedy = "target='tflite' has one" if transposed else "a two-dimensional convolution"
    return Unsupported(
        f"the target has no binary kernel for {kind}",
        remedy,
        "Expected a layer with a binary kernel: dense, one- or two-dimensional convolution. Received: "
        f"{name!r}, {kind}. The way out: {remedy}. allow_float_fallback=True converts what has a "
        "float counterpart.",
    )


def unsupported_padding(name: str, op: BinaryConv2D, wanted: str, known: str = "") -> Unsupported:
    """A convolution pads with what the target has no operator for.

    Args:
        name: The name of the layer.
        op: The convolution.
        wanted: What the error expects it to pad with.
        known: What the reason adds of what the target knows.
    """
    values = sorted(set(op.pad_values.tolist()))
    return Unsupported(
        f"it pads with {values}{known}",
        "train it with pad_value=1.0",
        f"Expected padding with {wanted}. Received: {name!r} padded with {values}. Train it with "
        "pad_value=1.0.",
    )


def unsupported_input(name: str, source: Node) -> Unsupported | None:
    """A layer of a ±1 kernel reads real values, unless they are those of the image."""
    producer = _producer(source)
    if producer is None:
        return None
    remedy = f"put a SelfBinarizingActivation before {name!r}, or set binarize_input=True on it"
    broken = not isinstance(producer.op, Product) and all(map(is_binary, producer.inputs))
    what = ", which makes other values of ±1" if broken else " without a sign between"
    return Unsupported(
        f"its input is real-valued and comes from {producer.name!r}",
        remedy,
        f"Expected layer {name!r} to be binary. Received a real-valued input, which comes from "
        f"{producer.name!r}{what}. {remedy[0].upper()}{remedy[1:]}. allow_float_fallback=True converts "
        "it as a float layer.",
    )


def _producer(node: Node) -> Node | None:
    """The nearest layer before `node` whose values are real ones that the network computes.

    That is a product, or what makes other values of ±1, such as an average or a padding with 0. What
    comes before the first of these only prepares the input: it moves values, or scales them. An affine
    map after one is named in its place, as it is what a sign would have to follow.
    """
    # Nodes to look at, each with the affine map that was met on the way to it.
    waiting: list[tuple[Node, Node | None]] = [(node, None)]
    seen: set[Node] = set()
    while waiting:
        node, affine = waiting.pop()
        op = node.op
        if node in seen or isinstance(op, Placeholder):
            continue
        seen.add(node)
        kernel = isinstance(op, KerasCall) and getattr(op.operation, "weights", None)
        real = [source for source in node.inputs if not is_binary(source)]
        if isinstance(op, Product) or kernel or not real:
            return affine or node
        if isinstance(op, Affine) and affine is None:
            affine = node
        waiting += [(source, affine) for source in reversed(real)]
    return None
