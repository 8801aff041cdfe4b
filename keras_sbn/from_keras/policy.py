"""Which layers become binary, which stay, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_sbn.from_keras.values import DEPTHWISE, SEPARABLE, Value, is_convolution, read
from keras_sbn.suggestions import did_you_mean

#: What a policy may say of a layer.
PRECISIONS = ("binary", "int8", "float")
POLICIES = ("vgg", "bireal")

#: A function from a layer of the original model to "binary", "int8" or "float", or the name of a policy.
Policy = str | Callable[[Any], str]


@dataclass(frozen=True)
class Role:
    """What a layer with a kernel becomes.

    Attributes:
        precision: `"binary"`, `"int8"` or `"float"`.
        reason: Why.
        first: Whether it reads an input of the model, and so real values.
        on_shortcut: Whether it stays float as part of a shortcut, which has no activation functions.
        part: Whether a separable convolution is binary in its convolution of 1 x 1 alone.
    """

    precision: str
    reason: str
    first: bool = False
    on_shortcut: bool = False
    part: bool = False

    @property
    def is_binary(self) -> bool:
        return self.precision == "binary"


def candidates(model: Any) -> list[Any]:
    """The layers of a model that can become binary: what a policy is asked about.

    Args:
        model: A Functional or Sequential Keras model, built.

    Returns:
        Layers with a kernel that `keras_sbn.layers` has a counterpart of, in the order of the graph, each
        once; a layer that computes otherwise than its class of Keras does is none.

    Raises:
        ValueError: If the model cannot be read, as by `keras_sbn.fold`.
    """
    _, values, _ = read(model)
    return list(dict.fromkeys(value.layer for value in values if value.is_candidate))


def check_policy(policy: Any) -> None:
    """Raises a ValueError unless `policy` is one."""
    if not (callable(policy) or (isinstance(policy, str) and policy in POLICIES)):
        raise ValueError(
            f"Expected `policy` to be one of {list(POLICIES)}, or a function from a layer to one of "
            f"{list(PRECISIONS)}. Received: policy={policy!r}"
        )


def kept(model: Any, values: list[Value], keep: Any) -> dict[str, str]:
    """The layers that the caller names, by name of node, and what they stay.

    Raises:
        ValueError: If a name is that of no layer, or a precision is neither "float" nor "int8".
    """
    if isinstance(keep, str) or not isinstance(keep, Iterable):
        raise ValueError(
            "Expected `keep` to be a list of names of layers, or a dictionary of 'float' or 'int8' by "
            f"name. Received: keep={keep!r}"
        )
    wanted = dict(keep) if isinstance(keep, Mapping) else dict.fromkeys(keep, "float")
    inside = {part.name: part for part in model._flatten_layers() if part is not model}
    found: dict[str, str] = {}
    for name, precision in wanted.items():
        if precision not in ("float", "int8"):
            raise ValueError(
                "Expected `keep` to say 'float' or 'int8' of a layer. Received: "
                f"keep={{{name!r}: {precision!r}}}"
            )
        layers = {id(part) for part in inside[name]._flatten_layers()} if name in inside else set()
        nodes = [
            value.name
            for value in values
            if value.kind != "input"
            and (name in (value.name, value.layer.name) or id(value.layer) in layers)
        ]
        if not nodes:
            known = {value.name for value in values if value.kind != "input"}
            raise ValueError(
                f"Expected `keep` to name layers of the model. Received: {name!r}."
                f"{did_you_mean(str(name), known)} The layers are {sorted(known)}."
            )
        found.update(dict.fromkeys(nodes, precision))
    return found


def roles(
    values: list[Value], outputs: list[Value], policy: Policy, keep: Mapping[str, str]
) -> dict[int, Role]:
    """What becomes of every layer with a kernel, by the identity of the layer.

    A layer that is called several times has one role.

    Raises:
        ValueError: If a function says anything but "binary", "int8" or "float".
    """
    surroundings = _Surroundings(values, outputs)
    found: dict[int, Role] = {}
    for value in values:
        if not value.is_candidate:
            continue
        first = value in surroundings.first
        before = found.get(id(value.layer))
        if value.name in keep:
            role = Role(keep[value.name], "kept, as `keep` says", first)
        elif before is not None:
            role = replace(before, first=before.first or first)
        elif callable(policy):
            role = Role(_asked(policy, value.layer), "as the policy says", first)
        else:
            role = _named(policy, value, surroundings)
        found[id(value.layer)] = role
    return found


def _asked(policy: Callable[[Any], str], layer: Any) -> str:
    precision = policy(layer)
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected `policy` to return one of {list(PRECISIONS)} for layer {layer.name!r}. Received: "
            f"{precision!r}"
        )
    return precision


def _named(policy: str, value: Value, around: _Surroundings) -> Role:
    kind = value.layer_kind
    first = value in around.first
    if kind is keras.layers.Conv2DTranspose and not is_convolution(value.layer):
        return Role("float", "the Larq Compute Engine has no binary transposed convolution", first)
    if value in around.last:
        return Role("float", "gives an output of the model", first)
    if kind in DEPTHWISE:
        return Role(
            "float", "depthwise: it has few weights, and a sign of so few products says little", first
        )
    if value in around.gates:
        return Role("float", "part of a squeeze-and-excitation gate, whose values are real", first)
    if first:
        if policy == "bireal":
            return Role("float", "reads an input of the model", first)
        if kind is keras.layers.Dense and len(around.first[value].shape) == 2:
            return Role("float", "reads an input of the model, which is a table", first)
        if kind in SEPARABLE:
            return Role("float", "reads an input of the model", first)
        return Role("binary", "binary kernel; it reads the real values of an input of the model", first)
    if policy == "bireal" and value in around.projections:
        return Role("float", "projects a shortcut of real values", on_shortcut=True)
    return Role("binary", "binary kernel and input", part=kind in SEPARABLE)


class _Surroundings:
    """Where the layers of a model stand, as the named policies see it.

    Attributes:
        first: Those that read an input of the model, maybe moved, rescaled or pooled, and that input.
        last: Those whose product is an output of the model but for functions of it.
        gates: Those of squeeze-and-excitation gates: from a global average to a product.
        projections: Convolutions of 1 x 1 on a shortcut around others.
    """

    def __init__(self, values: list[Value], outputs: list[Value]) -> None:
        linear = [value for value in values if value.is_candidate]
        self.first = {v: source for v in linear if (source := _input_of(v)) is not None}
        self.last = set(_last(outputs))
        self.gates = {gate for value in values if value.is_product for gate in _gates(value)}
        self.projections = {
            found for value in values if value.kind == "add" for found in _projections(value)
        }


_TRANSPARENT = ("move", "max_pool", "average_pool", "pad", "training", "normalization")


def _input_of(value: Value) -> Value | None:
    """An input of the model that a layer reads, if it reads one."""
    waiting, seen = [*value.inputs], set()
    while waiting:
        source = waiting.pop()
        if source in seen:
            continue
        seen.add(source)
        if source.kind == "input":
            return source
        if source.kind in _TRANSPARENT or source.rescales_the_input:
            waiting += source.inputs
    return None


def _last(outputs: list[Value]) -> Iterator[Value]:
    waiting, seen = list(outputs), set()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.kind == "linear":
            yield value
        elif value.kind in (*_TRANSPARENT, "activation") or _is_function(value):
            waiting += value.inputs


def _is_function(value: Value) -> bool:
    """Whether a value is computed without weights, as by a softmax."""
    return value.kind == "other" and (
        value.function is not None or not getattr(value.layer, "weights", ())
    )


def _gates(product: Value) -> Iterator[Value]:
    """The layers between a global average and a product, where its factors are functions of one."""
    for factor in product.inputs:
        found, value = [], factor
        while value.kind in ("linear", "activation", "move", "training", "normalization", "other"):
            if value.kind == "linear":
                found.append(value)
            if len(value.inputs) != 1:
                break
            value = value.input
        if value.is_global_average:
            yield from found


def _projections(addition: Value) -> Iterator[Value]:
    """Convolutions of 1 x 1 that are added to what is computed, by other layers, of the same value."""
    operands = [_behind_normalization(value) for value in addition.inputs]
    for index, value in enumerate(operands):
        if not value.is_candidate or set(getattr(value.layer, "kernel_size", ())) != {1}:
            continue
        others = [other for place, other in enumerate(addition.inputs) if place != index]
        source = value.input
        while source.kind in ("move", "max_pool", "average_pool") and len(source.inputs) == 1:
            source = source.input
        if any(_is_made_of(other, source) for other in others):
            yield value


def _behind_normalization(value: Value) -> Value:
    while value.kind in ("normalization", "training", "max_pool", "average_pool"):
        value = value.input
    return value


def _is_made_of(value: Value, source: Value) -> bool:
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if each is source:
            return True
        if each not in seen:
            seen.add(each)
            waiting += each.inputs
    return False
