"""What became of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import KerasCall
from keras_sbn.from_keras.new_graph import NewGraph
from keras_sbn.from_keras.policy import Role
from keras_sbn.from_keras.values import Value
from keras_sbn.layers import BinaryBatchNormalization, SelfBinarizingActivation
from keras_sbn.tables import format_table


@dataclass(frozen=True)
class LayerChange:
    """What became of one layer.

    Attributes:
        name: Name of the layer in the original model; of a layer of a nested model, or of a second call
            of a shared one, maybe with a number.
        kind: Name of its class.
        became: The layers of the new model that stem from it, as "name: Class"; none where it is gone.
        precision: `"binary"`, `"int8"` or `"float"` of a layer whose kernel a policy decides on, `"sign"`
            of an activation that became a sign, `""` of others.
        reason: Why.
    """

    name: str
    kind: str
    became: tuple[str, ...]
    precision: str
    reason: str


@dataclass(frozen=True)
class BinaryModel:
    """The self-binarizing model, and a row for every layer of the original. `print` shows the table.

    Attributes:
        model: The `keras.Model`, soft and not compiled, with the inputs and outputs of the original.
        layers: What became of every layer, in the order of the original.
    """

    model: Any
    layers: tuple[LayerChange, ...]

    @property
    def activations(self) -> str:
        """What `keras_sbn.convert` wants as `activations`: "int8" where a layer is to be int8."""
        return "int8" if any(row.precision == "int8" for row in self.layers) else "float32"

    @property
    def float_layers(self) -> list[str]:
        """What `keras_sbn.convert` wants as `float_layers`: the layers with a kernel that stay float."""
        return [
            one.name
            for row in self.layers
            if row.precision == "float"
            for one in map(self.model.get_layer, (name.split(": ")[0] for name in row.became))
            if any(len(weight.shape) > 1 for weight in one.weights)
        ]

    def __str__(self) -> str:
        rows = [
            (
                row.name,
                row.kind,
                row.precision,
                " + ".join(_class_of(x) for x in row.became) or "-",
                row.reason,
            )
            for row in self.layers
        ]
        return format_table(("layer", "was", "precision", "is", "why"), rows)


def _class_of(became: str) -> str:
    return became.split(": ")[-1]


def changes(
    values: list[Value], new: NewGraph, roles: dict[int, Role], kept: set[str]
) -> Iterator[LayerChange]:
    """The rows of the table.

    Args:
        values: The values of the original model.
        new: The new graph, and what its nodes stem from.
        roles: What became of the layers with kernels.
        kept: Names of layers that stay as they are.
    """
    present = {node.name: node for node in new.graph.nodes()}
    # A layer that is called several times has the name of its first call.
    names: dict[int, str] = {}
    for node in present.values():
        if isinstance(node.op, KerasCall):
            names.setdefault(id(node.op.operation), node.name)
    by_node: dict[Node, list[Value]] = {}
    for value in values:
        if isinstance(value.node.op, KerasCall):
            by_node.setdefault(value.node, []).append(value)
    for node, parts in by_node.items():
        made = [
            made
            for value in parts
            for made in new.made.get(value, [])
            if present.get(made.name) is made and isinstance(made.op, KerasCall)
        ]
        product = parts[0]
        role = roles[id(product.layer)] if product.is_candidate else None
        precision = role.precision if role else ""
        reasons = [role.reason] if role else []
        for value in parts:
            notes = new.notes.get(value, [])
            # A note says better why nothing is left of a value.
            if (value is not product or role is None) and (made or not notes):
                reasons += _reasons(value, made, kept)
            reasons += notes
        if product.kind == "activation" and any(_is(x, SelfBinarizingActivation) for x in made):
            precision = "sign"
        yield LayerChange(
            node.name,
            type(product.layer).__name__,
            tuple(f"{names[id(op)]}: {type(op).__name__}" for op in (x.op.operation for x in made)),  # type: ignore[union-attr]
            precision,
            "; ".join(reasons),
        )


def _reasons(value: Value, made: list[Node], kept: set[str]) -> list[str]:
    change = getattr(value.node.op, "change", None)
    if value.name in kept:
        return ["kept, as `keep` says"] if value.function is None else []
    if change is not None:
        return [f"as it was: {change}"]
    signs = any(_is(x, SelfBinarizingActivation) for x in made)
    normalizes = any(_is(x, BinaryBatchNormalization) for x in made)
    if value.kind == "activation":
        function = "its activation function" if value.function is not None else "it"
        stays = any(not _is_ours(x) for x in made) and value.function is None
        if signs:
            return [
                f"a sign in place of {function}" + (", which stays for float layers" if stays else "")
            ]
        if not made:
            return ["left out: what reads it reads signs, or real values of a shortcut"]
        return ["as it was, for float layers"] if value.function is None else []
    if value.kind == "normalization":
        return ["its scale is positive, so that a sign folds it into a threshold"] if normalizes else []
    if signs:
        return [
            "batch normalization and a sign for binary layers"
            if normalizes
            else "a sign for binary layers"
        ]
    if not made:
        return ["left out"]
    return ["as it was"] if value.kind == "other" and value.function is None else []


def _is_ours(node: Node) -> bool:
    return _is(node, BinaryBatchNormalization) or _is(node, SelfBinarizingActivation)


def _is(node: Node, cls: type) -> bool:
    return isinstance(node.op, KerasCall) and isinstance(node.op.operation, cls)
